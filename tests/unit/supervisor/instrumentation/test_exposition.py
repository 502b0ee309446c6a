"""One exposition, whose counters survive the workers that counted."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from flowodm.events import Handled, LoopState, LoopStatus, Outcome
from flowodm.metrics import PrometheusObserver
from supervisor.config.config import SupervisorConfig
from supervisor.fleet.configured_slots import configured_members
from supervisor.fleet.drains import Drains
from supervisor.fleet.fold import Fold
from supervisor.instrumentation.exposition import Exposition
from supervisor.instrumentation.status import Measured
from supervisor.protocol import Logging, pack
from supervisor.slot.machine import Slot, SlotState
from supervisor.slot.restart import ExitClass
from supervisor.worker.main import families
from support.programs import needs


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
        return pack(families(self.registry))


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
    return configured_members(config, "host", Logging(), Slot.new(0.0))


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


def test_costs_and_the_configuration_are_told(members):
    costs = {
        0: Measured(cpu_seconds=1.5, resident_bytes=4096),
        1: Measured(cpu_seconds=None, resident_bytes=None),  # a system that does not tell
    }
    exposition = Exposition(
        Fold(), lambda: members, lambda member: costs[member.index], lambda: "0123456789ab"
    )
    families_ = {f.name: f.samples for f in parse(exposition.render("")[0].decode())}
    (cpu,) = families_["flowodm_worker_cpu_seconds"]
    assert (cpu.name, cpu.value) == ("flowodm_worker_cpu_seconds_total", 1.5)
    assert cpu.labels == {"consumer": "orders", "slot": "0"}
    (memory,) = families_["flowodm_worker_resident_memory_bytes"]
    assert memory.value == 4096
    (config,) = families_["flowodm_config_info"]
    assert (config.labels, config.value) == ({"hash": "0123456789ab"}, 1)


def test_drains_are_told_by_how_long_they_took(members):
    drains = Drains()
    for seconds in (0.2, 3.0):
        drains.add("orders", seconds)
    exposition = Exposition(Fold(), lambda: members, drains=drains)
    families_ = {f.name: f.samples for f in parse(exposition.render("")[0].decode())}
    samples = families_["flowodm_worker_drain_seconds"]
    told = {(s.name.rpartition("_")[2], s.labels.get("le")): s.value for s in samples}
    assert told["count", None] == 2
    assert told["sum", None] == 3.2
    assert (told["bucket", "0.25"], told["bucket", "5.0"]) == (1, 2)
    assert not any(kind == "created" for kind, _ in told)


@needs("promtool")
def test_promtool_has_nothing_to_say_about_the_whole_exposition(members):
    fold = Fold()
    for member in members:
        registry = CollectorRegistry()
        observer = PrometheusObserver(registry, consumer="orders", slot=str(member.index))
        observer(Handled("orders", member.index, {Outcome.PROCESSED: 3}, [0.1] * 3))
        observer(LoopStatus(LoopState.RUNNING, lags=((("orders", 0), 12),)))
        fold.update(member.key, pack(families(registry)))
    fold.ended(members[0].key)
    cost = Measured(cpu_seconds=1.5, resident_bytes=4096)
    drains = Drains()
    drains.add("orders", 1.5)
    exposition = Exposition(fold, lambda: members, lambda _: cost, lambda: "0123456789ab", drains)
    promtool = ["promtool", "check", "metrics"]
    text, _ = exposition.render("text/plain")
    done = subprocess.run(promtool, input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


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
