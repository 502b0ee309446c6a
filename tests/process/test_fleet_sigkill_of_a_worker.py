"""SIGKILL of a worker under load: nothing is lost, and its partitions are handled again."""

from __future__ import annotations

import os
import signal

from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

ORDERS = 12_000
CONSUMERS = """
[consumers.orders]
model = "shop:Order"
handler = "shop:handle_slowly"
workers = 3
group_id = "{group}"
commit_strategy = "after_processing"
"""


def test_sigkill_of_a_worker_with_after_processing_loses_nothing(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=6)
    with RealFleet(tmp_path, kafka, topic, CONSUMERS.format(group=topic)) as fleet:
        fleet.until_ready()
        produce_orders(kafka, topic, ORDERS)
        fleet.until_handled(ORDERS // 10)
        victim = fleet.slots()[1]

        os.kill(victim["pid"], signal.SIGKILL)

        def replaced() -> bool:
            slot = fleet.slots()[1]
            return slot["pid"] not in {None, victim["pid"]} and len(slot["partitions"]) == 2

        wait_until(replaced, PATIENCE, "a successor owns the dead worker's partitions")
        fleet.until_handled(ORDERS)
        assert fleet.slots()[1]["restarts"] == 1
        assert fleet.metric("flowodm_worker_restarts_total", consumer="orders") == 1
        assert fleet.stop() == 0, fleet.text()

    handled = fleet.handled()
    assert len(handled) == ORDERS
    repeated = sum(times - 1 for times in handled.values())
    assert repeated < ORDERS // 2, "a crash repeats what was not committed, not the topic"
