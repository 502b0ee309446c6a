"""Fewer workers: what the one too many had goes to the others, although static members stay."""

from __future__ import annotations

import signal
import time

import pytest

from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

ORDERS = 300
# Without a removal it takes the session: 300 s in a classic group, 45 s under KIP-848.
SOON = 10.0
CONSUMERS = """
[kafka.options]
"auto.offset.reset" = "earliest"
{protocol}
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
workers = 2
group_id = "{group}"
"""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_static_member_that_is_not_wanted_any_more_leaves_at_once(
    kafka, new_topic, tmp_path, protocol
):
    topic = new_topic(partitions=4)
    option = '"group.protocol" = "consumer"' if protocol == "consumer" else ""
    consumers = CONSUMERS.format(group=topic, protocol=option)
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_ready()
        fleet.config.write_text(fleet.config.read_text().replace("workers = 2", "workers = 1"))

        reloaded_at = time.monotonic()
        fleet.process.send_signal(signal.SIGHUP)

        def alone() -> bool:
            slots = fleet.slots()
            return len(slots) == 1 and len(slots[0]["partitions"]) == 4

        wait_until(alone, PATIENCE, "the one that is left has all partitions")
        assert time.monotonic() - reloaded_at < SOON
        produce_orders(kafka, topic, ORDERS)
        fleet.until_handled(ORDERS)
        assert fleet.stop() == 0, fleet.text()
