"""A rolling restart, and a pause, of a fleet under load repeat no record and lose none."""

from __future__ import annotations

import threading

from supervisor.control.client import ask
from support.brokers.records import committed_offsets, end_offsets
from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

CONSUMERS = """
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
workers = 4
commit_strategy = "after_processing"
"""
BATCHES, ORDERS = 40, 200


def test_every_worker_is_replaced_and_every_record_is_handled_once(kafka, new_topic, tmp_path):
    topic, socket = new_topic(partitions=8), tmp_path / "run" / "control.sock"
    settings = {"control_socket": str(socket)}
    with RealFleet(tmp_path, kafka, topic, CONSUMERS, **settings) as fleet:
        fleet.until_ready()
        old = {slot["slot"]: slot["pid"] for slot in fleet.slots()}
        enough = threading.Event()

        def produce():
            for number in range(BATCHES):
                produce_orders(kafka, topic, ORDERS, number * ORDERS)
                if number == 2:
                    enough.set()

        producer = threading.Thread(target=produce)
        producer.start()
        assert enough.wait(PATIENCE)
        change = ask(socket, "POST", "/restart")
        wait_until(lambda: not ask(socket, "GET", "/status")["changing"], PATIENCE, "it is through")
        producer.join(PATIENCE)
        new = {slot["slot"]: slot["pid"] for slot in fleet.slots()}

        ask(socket, "POST", "/pause")
        produce_orders(kafka, topic, ORDERS, BATCHES * ORDERS)
        fleet.until_handled(BATCHES * ORDERS)
        lag = lambda: ask(socket, "GET", "/status")["consumers"]["orders"]["lag"]  # noqa: E731
        ask(socket, "POST", "/resume")
        fleet.until_handled((BATCHES + 1) * ORDERS)
        wait_until(lambda: lag() == 0, PATIENCE, "nothing waits")
        assert fleet.stop() == 0, fleet.text()

    assert change["replaced"] == [f"orders/{n}" for n in range(4)]
    assert all(old[slot] != new[slot] for slot in old)
    assert set(fleet.handled().values()) == {1}
    assert len(fleet.handled()) == (BATCHES + 1) * ORDERS
    assert committed_offsets(kafka, topic, topic) == end_offsets(kafka, topic)
