"""A member looks healthy, and one of its partitions is fetched no more: the worker is replaced."""

from __future__ import annotations

from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

ORDERS = 400
CONSUMERS = """
[consumers.orders]
model = "shop_of_stalls:Order"
handler = "shop_of_stalls:handle_slowly"
workers = 2
group_id = "{group}"
commit_strategy = "after_processing"
stall_timeout = "2s"
"""


def test_a_partition_that_stalls_is_taken_from_its_worker(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=4)
    with RealFleet(tmp_path, kafka, topic, CONSUMERS.format(group=topic)) as fleet:
        fleet.until_ready()
        produce_orders(kafka, topic, ORDERS)
        fleet.until_handled(ORDERS)
        before = {slot["pid"]: slot for slot in fleet.slots()}
        fault = tmp_path / "fault"
        fault.touch()
        wait_until(lambda: not fault.exists(), PATIENCE, "one of them stalls")
        (taken,) = tmp_path.glob("taken-*")
        stalled = int(taken.name.removeprefix("taken-"))

        produce_orders(kafka, topic, ORDERS, first=ORDERS)

        fleet.until_handled(2 * ORDERS)
        after = {slot["slot"]: slot for slot in fleet.slots()}
        for pid, slot in before.items():
            now = after[slot["slot"]]
            assert now["restarts_by_reason"] == ({"stalled": 1} if pid == stalled else {})
        assert fleet.stop() == 0, fleet.text()

    assert set(fleet.handled().values()) == {1}
    (line,) = [line for line in fleet.log() if line["event"].startswith("the worker hangs")]
    assert line["pid"] == stalled
    assert f"{topic}/" in line["event"]
    assert any("flowodm-poller" in name for line in fleet.log() for name in line.get("stacks", ""))
