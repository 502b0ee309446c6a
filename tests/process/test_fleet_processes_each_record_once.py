"""When nothing fails, four workers over eight partitions handle every record once."""

from __future__ import annotations

from support.brokers.records import committed_offsets, end_offsets
from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

ORDERS = 20_000
CONSUMERS = """
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
workers = 4
commit_strategy = "after_processing"
"""


def test_twenty_thousand_records_are_handled_once_and_counted_exactly(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=8)
    with RealFleet(tmp_path, kafka, topic, CONSUMERS) as fleet:
        fleet.until_ready()
        shares = lambda: [len(slot["partitions"]) for slot in fleet.slots()]  # noqa: E731 - as below
        wait_until(lambda: shares() == [2, 2, 2, 2], PATIENCE, "each worker has two partitions")

        produce_orders(kafka, topic, ORDERS)
        fleet.until_handled(ORDERS)

        counted = lambda: fleet.metric(  # noqa: E731 - asked again until it is up to date
            "flowodm_messages_total", consumer="orders", outcome="processed"
        )
        wait_until(lambda: counted() == ORDERS, PATIENCE, "the metric equals the records")
        assert fleet.metric("flowodm_handler_seconds_count") == ORDERS
        assert fleet.metric("flowodm_worker_up") == 4
        assert fleet.metric("flowodm_commits_total", result="ok") > 0
        assert fleet.metric("flowodm_commits_total", result="error") == 0
        assert fleet.metric("flowodm_failures_total") == 0
        wait_until(lambda: fleet.metric("flowodm_consumer_lag") == 0, PATIENCE, "the lag is 0")
        assert fleet.stop() == 0, fleet.text()

    handled = fleet.handled()
    assert len(handled) == ORDERS
    assert set(handled.values()) == {1}
    assert committed_offsets(kafka, topic, topic) == end_offsets(kafka, topic)
