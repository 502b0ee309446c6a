"""Retries, filters, tombstones, dead letters and batches do what the TOML says."""

from __future__ import annotations

import shop

from flowodm.avro.codec import codec_for
from support.brokers.records import Raw, committed_offsets, produce, read_all
from support.fleets.real_fleets import PATIENCE, RealFleet
from support.waiting import wait_until

CUSTOMERS = ["good", "unavailable", "refused", "wrong", "good"]


def orders(*customers):
    """Bare Avro, one order for each customer, numbered from 0 on."""
    codec = codec_for(shop.Order)
    return [
        codec.encode(shop.Order(order_id=number, customer=customer, amount=1.0))
        for number, customer in enumerate(customers)
    ]


def test_each_record_goes_the_way_that_the_options_say(kafka, new_topic, tmp_path):
    topic, dead = new_topic(partitions=1), new_topic(partitions=1)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop_of_failures:handle"
        group_id = "{topic}"
        commit_strategy = "after_processing"
        max_retries = 4
        retry_delay = "10ms"
        retry_backoff = 2
        retry_max_delay = "15ms"
        retry_jitter = 0.1
        retry_on = ["ConnectionError", "shop_of_failures:UnavailableError"]
        never_retry = ["shop_of_failures:RefusedError"]
        header_filter = "shop_of_failures:is_order"
        tombstone_handler = "shop_of_failures:forget"
        dead_letter_topic = "{dead}"
        dead_letter_limit = 1.0
    """
    good, unavailable, refused, wrong, last = orders(*CUSTOMERS)
    poison, noise = b"\xff poison", b"\xff noise"
    headers = (("trace", b"1"),)
    records = [
        Raw(good),
        Raw(noise, headers=(("kind", b"noise"),)),
        Raw(unavailable),
        Raw(refused, key=b"key", headers=headers),
        Raw(None, key=b"gone"),
        Raw(wrong),
        Raw(poison),
        Raw(last),
    ]
    produce(kafka, topic, records)
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        wait_until(
            lambda: committed_offsets(kafka, topic, topic) == {0: len(records)},
            PATIENCE,
            "all records are settled",
        )
        wait_until(
            lambda: fleet.metric("flowodm_dead_letters_total") == 3, PATIENCE, "all are counted"
        )
        assert fleet.stop() == 0, fleet.text()

    assert fleet.traces_of("attempt") == {
        "0 good": 1,
        "1 unavailable": 3,
        "2 refused": 1,
        "3 wrong": 1,
        "4 good": 1,
    }
    assert fleet.handled() == {0: 1, 1: 1, 4: 1}
    assert fleet.traces_of("asked")["False"] == 1
    assert fleet.traces_of("forgotten") == {"gone": 1}
    letters = read_all(kafka, dead)
    assert [letter.value() for letter in letters] == [refused, wrong, poison]
    assert letters[0].key() == b"key"
    assert headers[0] in letters[0].headers()


def test_an_async_handler_gets_batches_of_the_size_and_after_the_time_that_are_written(
    kafka, new_topic, tmp_path
):
    topic = new_topic(partitions=1)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop_of_failures:handle_batch"
        group_id = "{topic}"
        commit_strategy = "after_processing"
        batch_size = 10
        batch_timeout = "1s"
    """
    *values, lone = orders(*["good"] * 26)
    produce(kafka, topic, values)
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_handled(25)
        produce(kafka, topic, [lone])
        fleet.until_handled(26)
        assert fleet.stop() == 0, fleet.text()

    assert fleet.handled() == dict.fromkeys(range(26), 1)
    assert fleet.traces_of("batch") == {"10": 2, "5": 1, "1": 1}
