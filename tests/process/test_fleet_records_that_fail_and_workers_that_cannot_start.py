"""Records that fail: retried, handed over, or for good; and a worker that cannot start."""

from __future__ import annotations

import sys

import pytest

from support.brokers.records import Raw, produce
from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until


def test_a_handler_that_raises_three_times_and_then_works_is_retried(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=2)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:succeed_at_the_fourth_attempt"
        group_id = "{topic}"
        commit_strategy = "after_processing"
        max_retries = 3
        retry_delay = "50ms"
    """
    produce_orders(kafka, topic, 10)
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_handled(10)
        wait_until(
            lambda: fleet.metric("flowodm_retries_total") == 30, PATIENCE, "30 retries are counted"
        )
        assert fleet.metric("flowodm_failures_total", stage="handler") == 30
        assert fleet.stop() == 0, fleet.text()

    assert set(fleet.traces_of("attempt").values()) == {4}
    assert set(fleet.handled().values()) == {1}


def test_a_poison_record_reaches_the_error_handler_with_none(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=1)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:handle"
        error_handler = "shop:note_error"
        group_id = "{topic}"
        commit_strategy = "after_processing"
    """
    produce_orders(kafka, topic, 1)
    produce(kafka, topic, [Raw(b"\xff poison", partition=0)])
    produce_orders(kafka, topic, 1, first=1)
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_handled(2)
        assert fleet.stop() == 0, fleet.text()

    assert list(fleet.traces_of("error")) == ["DeserializationError none 0 1"]
    assert fleet.handled() == {0: 1, 1: 1}
    failures = [entry for entry in fleet.log() if entry["event"] == "record failed"]
    assert [(f["topic"], f["partition"], f["offset"]) for f in failures] == [(topic, 0, 1)]


def test_a_worker_that_crashes_on_every_start_is_declared_failed_and_the_other_consumer_goes_on(
    kafka, new_topic, tmp_path
):
    topic = new_topic(partitions=2)
    consumers = f"""
        [consumers.bad]
        model = "shop:Order"
        handler = "shop:handle"
        on_startup = "shop:crash_on_startup"
        group_id = "{topic}-bad"
        [consumers.bad.restart]
        initial = "20ms"
        cap = "100ms"
        limit = 3
        window = "60s"

        [consumers.good]
        model = "shop:Order"
        handler = "shop:handle"
        group_id = "{topic}-good"
    """
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        failed = lambda: fleet.slots()[0]["state"] == "failed"  # noqa: E731 - asked repeatedly
        wait_until(failed, PATIENCE, "the bad consumer is declared failed")
        produce_orders(kafka, topic, 100)
        fleet.until_handled(100)

        code, reasons = fleet.get("/readyz")
        assert (code, "no database" in reasons) == (503, True)
        assert fleet.metric("flowodm_worker_restarts_total", consumer="bad", reason="crash") == 3
        assert fleet.stop() not in {0, None}, fleet.text()
    starts = [e for e in fleet.log() if e["event"] == "worker started" and e["consumer"] == "bad"]
    assert len(starts) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not keep to RLIMIT_AS")
def test_a_worker_at_its_memory_limit_is_restarted_as_one_without_memory(
    kafka, new_topic, tmp_path
):
    topic = new_topic(partitions=1)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:ask_for_more_than_its_limit_once"
        group_id = "{topic}"
        commit_strategy = "after_processing"
        on_failure = "skip"
        restart.initial = "20ms"
    """
    produce_orders(kafka, topic, 10)
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_handled(10)
        [slot] = fleet.slots()
        assert slot["restarts_by_reason"] == {"out_of_memory": 1}
        assert fleet.stop() == 0, fleet.text()

    assert set(fleet.handled().values()) == {1}, "the record that met the limit is not skipped"
