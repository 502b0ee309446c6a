"""Invariant 5: stop() at any moment ends a loop in good order, and so does an error."""

from __future__ import annotations

import threading
import time

import pytest

from flowodm.events import Abandoned, LoopState, StateChanged, Trouble
from support.loops import BOTH, KINDS, PATIENCE, Gate, brisk, in_a_thread
from support.waiting import wait_until

STRATEGIES = ("after_processing", "before_processing")


class Hooks:
    """Startup and shutdown hooks that note when they were called."""

    def __init__(self, running=None) -> None:
        self.calls: list[str] = []
        self.committed = None

    def on_startup(self) -> None:
        self.calls.append("startup")

    def on_shutdown(self) -> None:
        self.calls.append("shutdown")

    def options(self) -> dict:
        return {"on_startup": self.on_startup, "on_shutdown": self.on_shutdown}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_ends_with_the_offsets_committed_the_hook_called_and_the_group_left(new_bench, kind):
    bench, seen, at_shutdown = new_bench(partitions=2), [], {}
    bench.produce(range(5_000), partition=lambda n: n % 2)

    def on_shutdown() -> None:
        at_shutdown.update(bench.committed())

    with bench.run(kind, lambda m: seen.append(m.n), on_shutdown=on_shutdown) as running:
        wait_until(lambda: len(seen) > 100, PATIENCE, "it is under way")
        running.stop()

    assert sum(at_shutdown.values()) == len(seen), "the commit comes before the hook"
    states = [event.state for event in running.events.of(StateChanged)]
    names = ("STARTING", "RUNNING", "DRAINING", "STOPPED")
    assert states == [LoopState[name] for name in names]
    began = time.monotonic()
    with bench.plain_member() as member:
        wait_until(lambda: member.owns() == [0, 1], PATIENCE, "another member has it all")
    assert time.monotonic() - began < 4, "nobody had to wait for the session to end"


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_before_run_ends_run_at_once_with_both_hooks(new_bench, kind):
    bench, hooks = new_bench(), Hooks()
    bench.produce(range(10))
    seen = []
    running = bench.run(kind, lambda m: seen.append(m.n), **hooks.options())

    running.loop.stop()
    with running:
        running.end(5)

    assert hooks.calls == ["startup", "shutdown"]
    assert seen == []
    assert running.status().state is LoopState.STOPPED


@pytest.mark.parametrize("kind", BOTH)
def test_a_loop_that_has_ended_may_run_again(new_bench, kind):
    bench, seen = new_bench(), []
    loop = bench.loop(kind, lambda m: seen.append(m.n))
    for round_ in range(2):
        running = bench.run(kind, seen.append)
        running.loop = loop
        bench.produce(range(100 * round_, 100 * round_ + 100))
        with running:
            wait_until(lambda wanted=100 * round_ + 100: len(seen) == wanted, PATIENCE, "handled")
            running.stop()

    assert seen == list(range(200)) if kind == "sync" else sorted(seen) == list(range(200))


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_in_on_startup_means_that_no_record_is_handled(new_bench, kind):
    bench, hooks, seen = new_bench(), Hooks(), []
    bench.produce(range(10))
    running = bench.run(
        kind,
        lambda m: seen.append(m.n),
        on_startup=lambda: running.loop.stop(),  # noqa: PLW0108 - `running` comes later
        on_shutdown=hooks.on_shutdown,
    )

    with running:
        running.end(5)

    assert hooks.calls == ["shutdown"]
    assert seen == []


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_before_the_assignment_ends_in_time(new_bench, kind):
    """Another member holds up the rebalance: it takes part in it only when it polls."""
    bench = new_bench()
    with bench.plain_member() as member:
        wait_until(lambda: member.owns() == [0], PATIENCE, "the other member has the partition")
        with bench.run(kind, lambda _: None) as running:
            wait_until(
                lambda: running.status().state is LoopState.RUNNING, PATIENCE, "run() has begun"
            )
            assert not running.status().joined
            running.loop.stop()
            running.end(10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stop_from_within_a_handler_finishes_that_record(new_bench, kind, strategy):
    bench, seen = new_bench(), []
    bench.produce(range(1_000))

    def handle(message) -> None:
        if message.n == 10:
            running.loop.stop()
        seen.append(message.n)

    running = bench.run(kind, handle, ordering="partition", commit_strategy=strategy)
    with running:
        running.end()

    assert 10 in seen
    assert seen == list(range(len(seen)))
    assert bench.committed() == {0: len(seen)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_cuts_the_wait_for_a_retry_and_leaves_the_record_uncommitted(new_bench, kind):
    """At least once: the next owner of the partition gets the record."""
    bench, attempts = new_bench(), []
    bench.produce(range(10))

    def handle(message) -> None:
        attempts.append(message.n)
        if message.n == 5:
            raise ValueError("not yet")

    options = {"max_retries": 3, "retry_delay": 3_600.0, "ordering": "partition"}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: 5 in attempts, PATIENCE, "the first attempt failed")
        running.loop.stop()
        running.end(5)

    assert attempts == [0, 1, 2, 3, 4, 5]
    assert bench.committed() == {0: 5}


@pytest.mark.parametrize("kind", KINDS)
def test_running_handlers_finish_and_no_new_one_starts_after_a_stop(new_bench, kind):
    bench, started, done = new_bench(), [], []
    bench.produce(range(100))
    with Gate() as gate:

        def handle(message) -> None:
            started.append(message.n)
            gate.wait()
            done.append(message.n)

        with bench.run(kind, handle, ordering="unordered") as running:
            many = 1 if kind == "sync" else 4
            wait_until(lambda: gate.waiting == many, PATIENCE, "the handlers run")
            running.loop.stop()
            wait_until(
                lambda: running.status().state is LoopState.DRAINING, 5, "the loop is draining"
            )
            gate.open()
            running.end()

    assert sorted(started) == sorted(done) == list(range(many))
    assert bench.committed() == {0: many}


def test_polling_goes_on_while_handlers_finish(new_bench):
    """Invariant 3: a drain longer than max_poll_interval_ms keeps the membership."""
    bench = new_bench()
    bench.produce(range(2))
    # KIP-848, because it allows a poll interval this short.
    settings = brisk(max_poll_interval_ms=1_000, extra_config={"group.protocol": "consumer"})
    with Gate() as gate, bench.run("sync", lambda _: gate.wait(), settings=settings) as running:
        wait_until(lambda: gate.waiting, PATIENCE, "a handler runs")
        running.loop.stop()
        drained = time.monotonic() + 4
        wait_until(lambda: time.monotonic() > drained, 20, "4 s of draining")
        gate.open()
        running.end()

    assert running.events.of(Trouble) == []
    assert running.events.commit_errors() == []
    assert bench.committed() == {0: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_after_the_drain_time_the_member_leaves_and_the_record_is_not_committed(new_bench, kind):
    bench, late = new_bench(), []
    bench.produce(range(10))
    with Gate() as gate:

        def handle(message) -> None:
            if message.n == 5:
                gate.wait()
                late.append(message.n)

        options = {"ordering": "partition", "drain_timeout": 0.5}
        with bench.run(kind, handle, **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler runs")
            running.loop.stop()
            with bench.plain_member() as member:
                wait_until(lambda: member.owns() == [0], PATIENCE, "another member has it")
                wait_until(member.received, PATIENCE, "and gets the record")
                assert member.received()[0] == b"\x0a", "number 5 is the first of them"
            gate.open()
            running.end()

    assert [event.records for event in running.events.of(Abandoned)] == [1]
    assert bench.committed() == {0: 5}


@pytest.mark.parametrize("kind", KINDS)
def test_stop_now_waits_for_no_handler(new_bench, kind):
    bench, hooks = new_bench(), Hooks()
    bench.produce(range(10))
    with Gate() as gate:
        options = {"drain_timeout": 3_600.0, **hooks.options()}
        with bench.run(kind, lambda _: gate.wait(), **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler runs")
            running.loop.stop()
            running.loop.stop(now=True)
            with bench.plain_member() as member:
                wait_until(lambda: member.owns() == [0], 10, "another member has the partition")
            gate.open()
            running.end()

    assert bench.committed().get(0, 0) == 0
    assert hooks.calls == ["startup", "shutdown"]


@pytest.mark.parametrize("kind", BOTH)
def test_on_startup_that_raises_is_what_run_raises_and_on_shutdown_runs(new_bench, kind):
    bench, hooks = new_bench(), Hooks()

    def on_startup() -> None:
        raise OSError("no database")

    options = {"on_startup": on_startup, "on_shutdown": hooks.on_shutdown}
    running = bench.run(kind, lambda _: None, **options)
    with running, pytest.raises(OSError, match="no database"):
        running.end(5)

    assert hooks.calls == ["shutdown"]
    assert running.status().state is LoopState.STOPPED


@pytest.mark.parametrize("kind", BOTH)
def test_on_shutdown_that_raises_still_leaves_the_group(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce(range(100))

    def on_shutdown() -> None:
        raise OSError("no database")

    running = bench.run(kind, lambda m: seen.append(m.n), on_shutdown=on_shutdown)
    with running:
        wait_until(lambda: len(seen) == 100, PATIENCE, "all is handled")
        running.loop.stop()
        with pytest.raises(OSError, match="no database"):
            running.end()
    assert bench.committed() == {0: 100}
    began = time.monotonic()
    with bench.plain_member() as member:
        wait_until(lambda: member.owns() == [0], PATIENCE, "another member has the partition")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("kind", BOTH)
def test_a_slow_on_shutdown_does_not_cost_the_last_commit_or_the_membership(new_bench, kind):
    """The consumer stays in the group, polled, until the hook has run."""
    bench = new_bench()
    bench.produce(range(100))
    with Gate() as gate:
        options = {"on_shutdown": gate.wait if kind == "sync" else in_a_thread(gate.wait)}
        with bench.run(kind, lambda _: None, **options) as running:
            wait_until(lambda: running.status().processed == 100, PATIENCE, "all is handled")
            running.loop.stop()
            wait_until(lambda: gate.waiting, PATIENCE, "the hook runs")
            assert bench.committed() == {0: 100}
            with bench.plain_member() as member:
                short = time.monotonic() + 1.0
                wait_until(lambda: member.owns() or time.monotonic() > short, 5, "a second")
                gate.open()
                wait_until(lambda: member.owns() == [0], PATIENCE, "now it has the partition")
            running.end()


def test_run_works_outside_of_the_main_thread_and_ends_by_stop_from_another(new_bench):
    bench, seen = new_bench(), []
    bench.produce(range(100))
    with bench.run("sync", lambda m: seen.append((m.n, threading.current_thread()))) as running:
        wait_until(lambda: len(seen) == 100, PATIENCE, "all is handled")
        running.stop()
    assert {thread.name for _, thread in seen} == {"loop-under-test"}


def test_no_thread_is_left_after_run(new_bench):
    bench, before = new_bench(), set(threading.enumerate())
    bench.produce(range(100))
    with bench.run("threads", lambda _: None) as running:
        wait_until(lambda: running.status().processed == 100, PATIENCE, "all is handled")
        running.stop()

    def left() -> set:
        return {t for t in threading.enumerate() if t.name.startswith("flowodm")} - before

    wait_until(lambda: not left(), 5, "every thread of the loop has ended")
