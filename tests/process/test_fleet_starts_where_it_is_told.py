"""A group that has committed nothing begins where start_from in the TOML says."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import shop

from flowodm.avro.codec import codec_for
from support.brokers.records import Raw, produce, read_all
from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until


def test_each_partition_begins_at_its_offset_and_a_restart_goes_on(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=2)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:handle"
        group_id = "{topic}"
        start_from = {{ 0 = 5, 1 = 30 }}
    """
    codec = codec_for(shop.Order)
    orders = [
        codec.encode(shop.Order(order_id=number, customer="c", amount=1)) for number in range(61)
    ]
    produce(kafka, topic, [Raw(order, partition=n // 30) for n, order in enumerate(orders[:60])])
    for folder, produced, expected in (
        ("first", [], range(5, 30)),
        ("second", [Raw(orders[60], partition=1)], [60]),
    ):
        produce(kafka, topic, produced)
        (tmp_path / folder).mkdir()
        with RealFleet(tmp_path / folder, kafka, topic, consumers) as fleet:
            fleet.until_handled(len(expected))
            assert fleet.stop() == 0, fleet.text()
        assert fleet.handled() == dict.fromkeys(expected, 1)


def test_a_new_group_begins_at_the_moment_that_is_written(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=1)
    produce_orders(kafka, topic, 10)
    last = max(record.timestamp()[1] for record in read_all(kafka, topic))
    wait_until(lambda: time.time() * 1000 > last + 1, PATIENCE, "the next millisecond")
    produce_orders(kafka, topic, 10, first=10)
    moment = datetime.fromtimestamp((last + 1) / 1000, UTC).isoformat(timespec="milliseconds")
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:handle"
        group_id = "{topic}"
        start_from = {moment}
    """
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_handled(10)
        assert fleet.stop() == 0, fleet.text()

    assert fleet.handled() == dict.fromkeys(range(10, 20), 1)
