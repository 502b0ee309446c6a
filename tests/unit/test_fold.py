"""supervisor.metrics: one exposition, whose counters survive the workers that counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from supervisor.config import SupervisorConfig
from supervisor.member import members_of
from supervisor.metrics import Exposition, Fold
from supervisor.protocol import Logging
from supervisor.restart import ExitClass
from supervisor.slot import Slot, SlotState
from supervisor.worker import families


class Worker:
    """What one worker process counts and measures."""

    def __init__(self, slot="0"):
        self.registry = CollectorRegistry()
        names = ["consumer", "slot"]
        labels = {"consumer": "orders", "slot": slot}
        buckets = [0.1, 1]
        registry = self.registry
        self.counter = Counter("records", "Records.", names, registry=registry).labels(**labels)
        self.gauge = Gauge("lag", "Lag.", names, registry=registry).labels(**labels)
        self.histogram = Histogram(
            "seconds", "Seconds.", names, buckets=buckets, registry=registry
        ).labels(**labels)

    def snapshot(self):
        return families(self.registry)


def values(metrics):
    return {
        (sample.name, sample.labels["slot"], sample.labels.get("le")): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def test_counters_and_histograms_survive_the_worker_and_gauges_do_not():
    fold, first = Fold(), Worker()
    first.counter.inc(5)
    first.histogram.observe(0.5)
    first.gauge.set(7)
    fold.update(("orders", 0), first.snapshot())
    assert values(fold.collect())["lag", "0", None] == 7
    fold.ended(("orders", 0))
    seen = values(fold.collect())
    assert seen["records_total", "0", None] == 5
    assert ("lag", "0", None) not in seen
    second = Worker()
    second.counter.inc(2)
    second.histogram.observe(5)
    fold.update(("orders", 0), second.snapshot())
    seen = values(fold.collect())
    assert seen["records_total", "0", None] == 7
    assert seen["seconds_count", "0", None] == 2
    assert seen["seconds_bucket", "0", "1.0"] == 1
    assert seen["seconds_bucket", "0", "+Inf"] == 2
    assert seen["seconds_sum", "0", None] == 5.5


def test_workers_with_their_own_labels_stand_beside_each_other():
    fold = Fold()
    for slot in ("0", "1"):
        worker = Worker(slot)
        worker.counter.inc(int(slot) + 1)
        worker.gauge.set(int(slot))
        fold.update(slot, worker.snapshot())
    seen = values(fold.collect())
    assert [seen["records_total", slot, None] for slot in "01"] == [1, 2]
    assert [seen["lag", slot, None] for slot in "01"] == [0, 1]


def test_the_moments_of_creation_are_not_added_up():
    fold = Fold()
    fold.update("w", Worker().snapshot())
    names = {sample.name for metric in fold.collect() for sample in metric.samples}
    assert not any(name.endswith("_created") for name in names)


@given(st.lists(st.one_of(st.integers(0, 100), st.just("dies")), max_size=30))
def test_a_counter_never_goes_down_whatever_happens_to_its_workers(steps):
    fold, worker, last = Fold(), Worker(), 0.0
    for done in steps:
        if done == "dies":
            fold.ended("w")
            worker = Worker()
        else:
            worker.counter.inc(done)
            fold.update("w", worker.snapshot())
        now = values(fold.collect()).get(("records_total", "0", None), 0.0)
        assert now >= last
        last = now
    assert last == sum(step for step in steps if step != "dies")


@pytest.fixture
def members():
    config = SupervisorConfig.model_validate(
        {"consumers": {"orders": {"model": "a:b", "handler": "a:b", "workers": 2}}}
    )
    return members_of(config, "host", Logging(), Slot.new(0.0))


def test_the_supervisors_own_families_tell_state_life_and_restarts(members):
    members[0].slot = members[0].slot.to(SlotState.ASSIGNED, 1.0)
    members[0].pid = 4711
    members[0].restarts[ExitClass.SIGNAL] += 3
    text, content_type = Exposition(Fold(), lambda: members).render("")
    assert content_type.startswith("text/plain")
    samples = {
        (
            sample.name,
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }
    assert samples["flowodm_worker_state", "orders", "0", "assigned"] == 1
    assert samples["flowodm_worker_state", "orders", "0", "starting"] == 0
    assert samples["flowodm_worker_state", "orders", "1", "backing_off"] == 1
    assert samples["flowodm_worker_up", "orders", "0"] == 1
    assert samples["flowodm_worker_up", "orders", "1"] == 0
    assert samples["flowodm_worker_restarts_total", "orders", "signal", "0"] == 3
    assert samples["flowodm_worker_restarts_total", "orders", "crash", "0"] == 0
    assert any(name[0] == "flowodm_build_info" for name in samples)


def test_openmetrics_is_there_for_those_who_ask_and_parses(members):
    fold, worker = Fold(), Worker()
    worker.counter.inc()
    worker.histogram.observe(0.5)
    fold.update("w", worker.snapshot())
    fold.ended("w")
    fold.update("w", Worker().snapshot())
    exposition = Exposition(fold, lambda: members)
    text, content_type = exposition.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families_ = {family.name: family for family in parse_openmetrics(text.decode())}
    assert families_["records"].samples[0].value == 1
