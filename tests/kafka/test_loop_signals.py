"""Invariant 5: SIGTERM and SIGINT at any moment; the second one means now (invariant 12)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from flowodm import ConsumerLoop
from flowodm.events import Failed, LoopState, StateChanged
from support.loops import BOTH, KINDS, PATIENCE, Events, Gate
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])


@pytest.fixture(autouse=True)
def _handlers_of_the_program() -> Iterator[None]:
    """The program has signal handlers of its own, and finds them untouched after each run()."""

    def own(signum, frame) -> None:
        raise AssertionError(f"signal {signum} reached the program")

    before = {signum: signal.signal(signum, own) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
        for signum in before:
            assert signal.getsignal(signum) is own, "the program's handler is back"
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def run(loop) -> None:
    """In the main thread, where signals arrive."""
    if isinstance(loop, ConsumerLoop):
        loop.run()
    else:
        asyncio.run(loop.run())


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def hang() -> None:
    """As user code that never ends, in Python.

    CPython runs a signal's handler between two bytecodes, or when the signal interrupts a blocking
    call. One that comes between the last look and such a call waits for the call's end, whoever
    wrote the handler; so no call here is long.
    """
    while True:
        time.sleep(0.05)


class Sender:
    """Sends signals from another thread, each as soon as its condition is true."""

    def __init__(self, *plan: tuple[Callable[[], object], int]) -> None:
        self._plan = plan
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _send(self) -> None:
        for condition, signum in self._plan:
            wait_until(condition, PATIENCE, "the moment for a signal")
            send(signum)


@SIGNALS
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_under_load_commits_what_was_handled_and_leaves_the_group(new_bench, kind, signum):
    bench, seen = new_bench(), []
    bench.produce(range(5_000))

    with Sender((lambda: len(seen) > 100, signum)):
        run(bench.loop(kind, lambda m: seen.append(m.n), ordering="partition"))

    assert seen == list(range(len(seen)))
    assert bench.committed() == {0: len(seen)}
    with bench.plain_member() as member:
        wait_until(lambda: member.owns() == [0], 4, "another member has the partition")


@SIGNALS
@pytest.mark.parametrize("kind", BOTH)
def test_a_signal_in_on_startup_is_not_lost(new_bench, kind, signum):
    bench, calls = new_bench(), []
    bench.produce(range(10))

    def on_startup() -> None:
        send(signum)
        calls.append("startup")

    hooks = {"on_startup": on_startup, "on_shutdown": lambda: calls.append("shutdown")}
    began = time.monotonic()
    run(bench.loop(kind, calls.append, **hooks))

    assert calls == ["startup", "shutdown"]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("moment", [LoopState.STARTING, LoopState.RUNNING])
@pytest.mark.parametrize("kind", BOTH)
def test_a_signal_before_the_assignment_ends_the_loop(new_bench, kind, moment):
    bench = new_bench()

    def at_the_moment(event) -> None:
        if isinstance(event, StateChanged) and event.state is moment:
            send(signal.SIGTERM)

    began = time.monotonic()
    run(bench.loop(kind, lambda _: None, observers=[at_the_moment]))

    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_in_the_wait_for_a_retry_ends_the_loop(new_bench, kind):
    bench, events = new_bench(), Events()
    bench.produce(range(1))

    def handle(message) -> None:
        raise ValueError("not yet")

    options = {"max_retries": 3, "retry_delay": 3_600.0, "observers": [events]}
    with Sender((lambda: events.of(Failed), signal.SIGTERM)):
        run(bench.loop(kind, handle, **options))

    assert len(events.of(Failed)) == 1
    assert bench.committed().get(0, 0) == 0


@SIGNALS
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_in_a_handler_lets_it_finish(new_bench, kind, signum):
    bench, done = new_bench(), []
    bench.produce(range(100))

    def handle(message) -> None:
        if message.n == 5:
            send(signum)
            time.sleep(0.3)  # work that the signal does not interrupt
        done.append(message.n)

    run(bench.loop(kind, handle, ordering="partition"))

    assert done == [0, 1, 2, 3, 4, 5]
    assert bench.committed() == {0: 6}


@SIGNALS
@pytest.mark.parametrize("kind", BOTH)
def test_a_second_signal_does_not_wait_for_the_handler(new_bench, kind, signum):
    bench, stuck, hooks = new_bench(), threading.Event(), []
    bench.produce(range(10))

    async def asleep(message) -> None:
        if message.n == 5:
            stuck.set()
            await asyncio.sleep(3_600)

    def sleep(message) -> None:
        if message.n == 5:
            stuck.set()
            hang()

    loop = bench.loop(
        kind,
        asleep if kind == "async" else sleep,
        ordering="partition",
        drain_timeout=3_600.0,
        on_shutdown=lambda: hooks.append("shutdown"),
    )
    draining = lambda: loop.status().state is LoopState.DRAINING  # noqa: E731 - one condition
    began = time.monotonic()
    with Sender((stuck.is_set, signum), (draining, signum)):
        if kind == "async":
            run(loop)
        else:
            expected = KeyboardInterrupt if signum == signal.SIGINT else SystemExit
            with pytest.raises(expected):
                run(loop)

    assert time.monotonic() - began < 15
    assert hooks == ["shutdown"]
    assert bench.committed() == {0: 5}
    with bench.plain_member() as member:
        wait_until(lambda: member.owns() == [0], 4, "another member has the partition")


def test_a_second_signal_does_not_wait_for_handler_threads(new_bench):
    bench = new_bench()
    bench.produce(range(10))
    with Gate() as gate:
        options = {"ordering": "unordered", "drain_timeout": 3_600.0}
        loop = bench.loop("threads", lambda _: gate.wait(), **options)
        draining = lambda: loop.status().state is LoopState.DRAINING  # noqa: E731 - one condition
        began = time.monotonic()
        with Sender((lambda: gate.waiting == 4, signal.SIGTERM), (draining, signal.SIGTERM)):
            run(loop)
        assert time.monotonic() - began < 15
        assert gate.waiting == 4

    assert bench.committed().get(0, 0) == 0


@SIGNALS
@pytest.mark.parametrize("hook", ["on_startup", "on_shutdown"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_second_signal_gets_out_of_a_hook_that_hangs(new_bench, kind, hook, signum):
    bench, stuck = new_bench(), threading.Event()

    async def asleep() -> None:
        stuck.set()
        await asyncio.sleep(3_600)

    def sleep() -> None:
        stuck.set()
        hang()

    loop = bench.loop(kind, lambda _: None, **{hook: asleep if kind == "async" else sleep})
    first = stuck.is_set if hook == "on_startup" else lambda: loop.status().joined
    ends = asyncio.CancelledError
    if kind == "sync":
        ends = KeyboardInterrupt if signum == signal.SIGINT else SystemExit
    began = time.monotonic()
    # Python merges signals that arrive before the first one's handler has run.
    second = lambda: stuck.is_set() and loop._signals == 1  # noqa: E731 - one condition
    with Sender((first, signum), (second, signum)), pytest.raises(ends):
        run(loop)

    assert time.monotonic() - began < 15


def test_a_second_signal_gets_out_of_an_error_handler_that_hangs(new_bench):
    bench, stuck = new_bench(), threading.Event()
    bench.produce(range(3))

    def handle(message) -> None:
        raise ValueError("broken")

    def handle_error(_error, _raw, _instance) -> None:
        stuck.set()
        hang()

    loop = bench.loop("sync", handle, error_handler=handle_error)
    draining = lambda: loop.status().state is LoopState.DRAINING  # noqa: E731 - one condition
    with (
        Sender((stuck.is_set, signal.SIGTERM), (draining, signal.SIGTERM)),
        pytest.raises(SystemExit),
    ):
        run(loop)

    assert bench.committed().get(0, 0) == 0


@SIGNALS
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_that_interrupts_no_call_ends_an_idle_loop(new_bench, kind, signum):
    """As one does that comes right before the loop waits for records (see hang())."""
    bench = new_bench()
    loop = bench.loop(kind, lambda _: None)

    def send_to_another_thread() -> None:
        wait_until(lambda: loop.status().joined, PATIENCE, "the loop is idle")
        signal.pthread_kill(threading.get_ident(), signum)

    sender = threading.Thread(target=send_to_another_thread, daemon=True)
    sender.start()
    began = time.monotonic()
    run(loop)
    sender.join(PATIENCE)

    assert not sender.is_alive()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("kind", BOTH)
def test_signal_handlers_are_back_after_run_raised(new_bench, kind):
    """The fixture of this file looks at them."""
    bench = new_bench()

    def on_startup() -> None:
        raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        run(bench.loop(kind, lambda _: None, on_startup=on_startup))


@pytest.mark.parametrize("kind", BOTH)
def test_without_handle_signals_the_program_gets_them(new_bench, kind):
    bench, got = new_bench(), []
    bench.produce(range(10))
    own = signal.signal(signal.SIGTERM, lambda signum, frame: got.append(signum))
    try:
        loop = bench.loop(kind, lambda _: None, handle_signals=False)

        def stop_it() -> bool:
            if got:
                loop.stop()
            return bool(got)

        with Sender((lambda: loop.status().processed == 10, signal.SIGTERM)):
            stopper = threading.Thread(target=wait_until, args=(stop_it, PATIENCE, "a signal"))
            stopper.start()
            run(loop)
            stopper.join()
    finally:
        signal.signal(signal.SIGTERM, own)

    assert got == [signal.SIGTERM]


def test_ctrl_c_without_handle_signals_ends_a_sync_loop_in_good_order(new_bench):
    bench = new_bench()
    bench.produce(range(10))
    own = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        loop = bench.loop("sync", lambda _: None, handle_signals=False)
        with (
            Sender((lambda: bench.committed() == {0: 10}, signal.SIGINT)),
            pytest.raises(KeyboardInterrupt),
        ):
            run(loop)
    finally:
        signal.signal(signal.SIGINT, own)

    assert loop.status().state is LoopState.STOPPED
    assert bench.committed() == {0: 10}
