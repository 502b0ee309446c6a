"""A record that comes alone is not held back for company."""

from __future__ import annotations

import statistics
import time

import pytest
from confluent_kafka import Producer

from support.loops import BOTH, PATIENCE, number
from support.waiting import wait_until

RECORDS = 30


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_lone_record_is_handled_at_once_whatever_the_time_outs_say(new_bench, kind, strategy):
    """Neither poll_timeout nor commit_interval nor a full fetch is waited for."""
    bench, handled = new_bench(), []
    producer = Producer({"bootstrap.servers": bench.kafka, "linger.ms": 0})
    options = {"commit_strategy": strategy, "poll_timeout": 5.0, "commit_interval": 60.0}
    times = []
    with bench.run(kind, lambda m: handled.append(time.monotonic()), **options) as running:
        running.joined(1)
        for n in range(RECORDS):
            producer.produce(bench.topic, number(n))
            producer.flush(PATIENCE)
            acknowledged = time.monotonic()
            wait_until(lambda n=n: len(handled) > n, PATIENCE, "it is handled")
            times.append(handled[-1] - acknowledged)
        running.stop()

    assert statistics.median(times) < 0.1, times
