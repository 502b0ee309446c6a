"""A signal handler may call stop() in the middle of whatever the main thread does.

Python runs a signal's handler between two instructions of the main thread, so also while that
thread holds a lock of the loop. A stop() that took one of these would wait for itself, for ever.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from flowodm import ConsumerLoop
from flowodm.consumer import dispatch
from flowodm.consumer.loop import lifecycle as shell
from flowodm.events import LoopState
from support.loops import BOTH, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = 50


class SignallingLock:
    """A lock that sends SIGTERM to the process at one chosen time that the main thread takes it."""

    def __init__(self, at: int) -> None:
        self._lock = threading.Lock()
        self._left = at
        self.signalled_while_held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        taken = self._lock.acquire(blocking, timeout)
        if taken and threading.current_thread() is threading.main_thread():
            self._left -= 1
            if self._left == 0:
                # Only the main thread gets it, and here, with the lock in its hands.
                signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
                self.signalled_while_held = True
        return taken

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    """A deadlocked main thread cannot end the test: this does, with a traceback."""

    def give_up(_signum: int, _frame: object) -> None:
        raise AssertionError("run() does not end: a signal handler waits for a lock")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(PATIENCE))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def run(loop: Any) -> None:
    if isinstance(loop, ConsumerLoop):
        loop.run()
    else:
        asyncio.run(loop.run())


class Locks:
    """Stands for the threading module where the loop makes its locks."""

    def __init__(self, lock: SignallingLock) -> None:
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)

    def Lock(self) -> SignallingLock:  # noqa: N802 - threading's name
        return self._lock


@pytest.mark.parametrize("own_handler", [False, True], ids=["ours", "the program's"])
@pytest.mark.parametrize("at", [1, 3, 8])
@pytest.mark.parametrize("kind", BOTH)
def test_a_signal_that_arrives_while_the_main_thread_holds_the_engines_lock_ends_the_loop(
    new_bench, monkeypatch, kind, at, own_handler
):
    """The main thread takes it for every run of records, for every failure and for each state."""
    bench, attempts, lock = new_bench(), [], SignallingLock(at)
    bench.produce(range(RECORDS))
    monkeypatch.setattr(dispatch, "threading", Locks(lock))

    def handle(message: Any) -> None:
        attempts.append(message.n)
        if attempts.count(message.n) < 3:
            raise ValueError

    async def handle_async(message: Any) -> None:
        handle(message)

    options = {"max_retries": 3, "retry_delay": 0.0, "handle_signals": not own_handler}
    loop = bench.loop(kind, handle_async if kind == "async" else handle, **options)
    if own_handler:
        before = signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    try:
        run(loop)
    finally:
        if own_handler:
            signal.signal(signal.SIGTERM, before)

    assert lock.signalled_while_held
    assert loop.status().state is LoopState.STOPPED
    done = sum(attempts.count(n) >= 3 for n in range(RECORDS))
    assert bench.committed().get(0, 0) == done or kind == "async"


@pytest.mark.parametrize("kind", BOTH)
def test_a_signal_that_arrives_while_run_takes_its_own_lock_ends_it_before_it_begins(
    new_bench, monkeypatch, kind
):
    bench, calls, lock = new_bench(), [], SignallingLock(1)
    bench.produce(range(RECORDS))
    monkeypatch.setattr(shell, "threading", Locks(lock))
    loop = bench.loop(kind, calls.append)
    before = signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    try:
        run(loop)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert lock.signalled_while_held
    assert calls == []
    assert bench.committed() == {}


@pytest.mark.parametrize("kind", BOTH)
def test_a_burst_of_signals_at_full_speed_ends_the_loop_once_and_for_all(new_bench, kind):
    """Four times each a loop at full speed, a signal at some moment of it, a clean end."""
    bench, seen = new_bench(), []

    def handle(message: Any) -> None:
        seen.append(message.n)

    async def handle_async(message: Any) -> None:
        seen.append(message.n)

    for round_ in range(4):
        # New ones in each round: a sender that gets its turn late must find its goal in reach.
        bench.produce(range(10_000 * round_, 10_000 * (round_ + 1)))
        goal = len(seen) + 300 * (round_ + 1)

        def send(goal: int = goal) -> None:
            while len(seen) < goal:
                pass  # a finer clock than any sleep: this has to hit the middle of something
            os.kill(os.getpid(), signal.SIGTERM)

        sender = threading.Thread(target=send, daemon=True)
        options = {"ordering": "partition", "handle_signals": True}
        loop = bench.loop(kind, handle_async if kind == "async" else handle, **options)
        sender.start()
        run(loop)
        sender.join(PATIENCE)
        assert bench.committed() == {0: len(seen)}
    assert seen == list(range(len(seen)))
