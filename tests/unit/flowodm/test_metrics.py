"""The Prometheus observer counts a loop's events under the documented names."""

from __future__ import annotations

import re
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flowodm import metrics
from flowodm.events import (
    Abandoned,
    Blocked,
    Committed,
    DeadLettered,
    Ended,
    EndReason,
    Failed,
    Handled,
    LoopState,
    LoopStatus,
    Outcome,
    Rebalanced,
    RebalanceKind,
    Stage,
    Trouble,
)
from flowodm.metrics import MAX_CODES, PrometheusObserver
from support.programs import needs

LABELS = {"consumer": "orders", "slot": "0"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def observer(registry) -> PrometheusObserver:
    return PrometheusObserver(registry, consumer="orders")


def value(registry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {**LABELS, **labels})


def failed(consequence: str) -> Failed:
    return Failed(Stage.HANDLER, "t", 0, 1, 1, ValueError("x"), consequence)


def test_settled_records_are_counted_by_outcome(registry, observer):
    observer(Handled("t", 0, {Outcome.PROCESSED: 3, Outcome.SKIPPED: 1}, [0.001] * 4))
    observer(Handled("t", 1, {Outcome.PROCESSED: 2}, [0.001] * 2))

    assert value(registry, "flowodm_messages_total", outcome="processed") == 5
    assert value(registry, "flowodm_messages_total", outcome="skipped") == 1
    assert value(registry, "flowodm_messages_total", outcome="lost") == 0


def test_each_record_falls_into_its_bucket(registry, observer):
    observer(Handled("t", 0, {Outcome.PROCESSED: 3}, [0.0002, 0.02, 700.0]))

    assert value(registry, "flowodm_handler_seconds_bucket", le="0.0001") == 0
    assert value(registry, "flowodm_handler_seconds_bucket", le="0.00025") == 1
    assert value(registry, "flowodm_handler_seconds_bucket", le="600.0") == 2
    assert value(registry, "flowodm_handler_seconds_bucket", le="+Inf") == 3
    assert value(registry, "flowodm_handler_seconds_count") == 3
    assert value(registry, "flowodm_handler_seconds_sum") == pytest.approx(700.0202)


def test_a_value_on_a_buckets_bound_is_inside_it(registry, observer):
    observer(Handled("t", 0, {Outcome.PROCESSED: 1}, [0.5]))

    assert value(registry, "flowodm_handler_seconds_bucket", le="0.5") == 1


def test_only_failures_that_are_tried_again_count_as_retries(registry, observer):
    observer(failed("retry"))
    observer(failed("skip"))

    assert value(registry, "flowodm_failures_total", stage="handler") == 2
    assert value(registry, "flowodm_retries_total") == 1


def test_commits_are_counted_by_the_brokers_answer(registry, observer):
    observer(Committed({("t", 0): 5}))
    observer(Committed({("t", 0): 6}, error="REBALANCE_IN_PROGRESS"))

    assert value(registry, "flowodm_commits_total", result="ok") == 1
    assert value(registry, "flowodm_commits_total", result="error") == 1


def test_a_commits_way_falls_into_its_bucket_if_it_was_measured(registry, observer):
    observer(Committed({("t", 0): 5}, seconds=0.006))
    observer(Committed({("t", 0): 6}, error="_TIMED_OUT", seconds=10.0))
    observer(Committed({("t", 0): 7}))

    assert value(registry, "flowodm_commit_seconds_bucket", le="0.005") == 0
    assert value(registry, "flowodm_commit_seconds_bucket", le="0.01") == 1
    assert value(registry, "flowodm_commit_seconds_count") == 2
    assert value(registry, "flowodm_commit_seconds_sum") == pytest.approx(10.006)


def test_the_end_of_a_run_gives_the_length_of_its_drain(registry, observer):
    observer(Ended(EndReason.STOP, drain_seconds=0.3))

    assert value(registry, "flowodm_drain_seconds_bucket", le="0.25") == 0
    assert value(registry, "flowodm_drain_seconds_bucket", le="0.5") == 1


def test_a_blockage_counts_once_however_long_it_is(registry, observer):
    observer(Blocked(1.0, "charge (shop.handlers:12)"))
    observer(Blocked(31.0, "charge (shop.handlers:12)", again=True))

    assert value(registry, "flowodm_event_loop_blocked_total") == 1


def test_dead_letters_and_abandoned_records_are_counted(registry, observer):
    observer(DeadLettered("t", 0, 1, "t.dlt"))
    observer(Abandoned(4))

    assert value(registry, "flowodm_dead_letters_total") == 1
    assert value(registry, "flowodm_abandoned_total") == 4


def test_rebalances_are_counted_by_kind(registry, observer):
    observer(Rebalanced(RebalanceKind.LOST, (("t", 0),)))

    assert value(registry, "flowodm_rebalances_total", kind="lost") == 1


def test_gauges_show_the_latest_status(registry, observer):
    observer(
        LoopStatus(
            LoopState.RUNNING,
            assigned=(("t", 0), ("t", 1)),
            joined=True,
            in_flight=3,
            buffered=7,
            waiting=2,
            paused=1,
            lags=((("t", 0), 12),),
            oldest_handler_seconds=1.5,
            max_poll_interval_seconds=600.0,
        )
    )

    assert value(registry, "flowodm_in_flight") == 3
    assert value(registry, "flowodm_buffered_records") == 7
    assert value(registry, "flowodm_waiting_retries") == 2
    assert value(registry, "flowodm_paused_partitions") == 1
    assert value(registry, "flowodm_joined") == 1
    assert value(registry, "flowodm_assigned_partitions") == 2
    assert value(registry, "flowodm_oldest_handler_seconds") == 1.5
    assert value(registry, "flowodm_max_poll_interval_seconds") == 600
    assert value(registry, "flowodm_consumer_lag", topic="t", partition="0") == 12


def test_lost_records_are_no_progress(registry, observer):
    observer(Handled("t", 0, {Outcome.LOST: 2}, []))

    assert value(registry, "flowodm_last_progress_timestamp_seconds") == 0


def test_error_codes_are_bounded(registry, observer):
    for number in range(MAX_CODES + 10):
        observer(Trouble(f"CODE_{number}", "text"))

    assert value(registry, "flowodm_client_errors_total", code="other") == 10


def test_two_loops_on_one_registry_give_one_family_each_that_a_parser_takes(registry, observer):
    other = PrometheusObserver(registry, consumer="orders", slot="1")
    observer(Handled("t", 0, {Outcome.PROCESSED: 3}, [0.1] * 3))
    other(Handled("t", 1, {Outcome.PROCESSED: 4}, [0.1] * 4))

    text = generate_latest(registry).decode()

    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families))
    assert value(registry, "flowodm_messages_total", outcome="processed") == 3
    assert (
        registry.get_sample_value(
            "flowodm_messages_total", {"consumer": "orders", "slot": "1", "outcome": "processed"}
        )
        == 4
    )


def test_the_same_labels_twice_in_one_registry_are_refused(registry, observer):
    with pytest.raises(ValueError, match="consumer='orders', slot='0' is in this registry"):
        PrometheusObserver(registry, consumer="orders")


def test_a_closed_observer_is_gone_from_the_registry_and_its_labels_are_free(registry, observer):
    observer.close()
    assert generate_latest(registry) == b""

    PrometheusObserver(registry, consumer="orders")
    observer.close()  # a second time, which is not the new one's business

    assert value(registry, "flowodm_in_flight") == 0


@needs("promtool")
def test_promtool_has_nothing_to_say(registry, observer):
    observer(Handled("t", 0, {Outcome.PROCESSED: 3}, [0.1] * 3))
    observer(Trouble("_TRANSPORT", "text"))
    observer(LoopStatus(LoopState.RUNNING, lags=((("t", 0), 12),)))

    promtool = ["promtool", "check", "metrics"]
    text = generate_latest(registry)
    done = subprocess.run(promtool, input=text, capture_output=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_names_keep_the_rules_of_prometheus(registry, observer):
    for family in registry.collect():
        assert re.fullmatch(r"flowodm_[a-z_]+[a-z]", family.name)
        assert family.documentation.endswith(".")
        assert (family.type == "histogram") <= family.name.endswith("_seconds")
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")


def test_the_documented_names_are_the_exposed_ones(registry, observer):
    exposed = {family.name for family in registry.collect()}

    documented = re.findall(r"^``flowodm_(\w+)``", metrics.__doc__, flags=re.MULTILINE)

    assert {f"flowodm_{name.removesuffix('_total')}" for name in documented} == exposed
