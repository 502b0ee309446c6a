"""SIGKILL of a worker under load: its partitions go on at once, not when its session ends."""

from __future__ import annotations

import os
import signal
import time

import pytest

from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

ORDERS = 4_000
# The classic session is LongRunningSettings' 300 s, that of KIP-848 the broker's 45 s.
AT_ONCE = 10.0
CONSUMERS = """
[kafka.options]
"auto.offset.reset" = "earliest"
{protocol}
[consumers.orders]
model = "shop:Order"
handler = "shop:handle_slowly"
workers = 3
group_id = "{group}"
commit_strategy = "after_processing"
membership = "{membership}"
"""
EVICTED = "the dead member is out of the group"


@pytest.mark.parametrize("membership", ["static", "dynamic"])
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_partitions_of_a_killed_worker_go_on_at_once(
    kafka, new_topic, tmp_path, protocol, membership
):
    topic = new_topic(partitions=6)
    option = '"group.protocol" = "consumer"' if protocol == "consumer" else ""
    consumers = CONSUMERS.format(group=topic, membership=membership, protocol=option)
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_ready()
        produce_orders(kafka, topic, ORDERS)
        fleet.until_handled(ORDERS // 10)
        victim = fleet.slots()[1]

        killed_at = time.monotonic()
        os.kill(victim["pid"], signal.SIGKILL)

        def replaced() -> bool:
            slot = fleet.slots()[1]
            return slot["pid"] not in {None, victim["pid"]} and len(slot["partitions"]) == 2

        wait_until(replaced, PATIENCE, "a successor owns as many partitions")
        assert time.monotonic() - killed_at < AT_ONCE
        fleet.until_handled(ORDERS)
        assert fleet.slots()[1]["restarts"] == 1
        assert fleet.stop() == 0, fleet.text()

    evictions = [entry["event"] for entry in fleet.log() if "evict" in entry["event"]]
    evicted = [entry for entry in fleet.log() if entry["event"] == EVICTED]
    assert evictions == []  # none was refused
    # A static member of a classic group is inherited: nobody else is to notice its death.
    assert len(evicted) == (0 if (protocol, membership) == ("classic", "static") else 1)
