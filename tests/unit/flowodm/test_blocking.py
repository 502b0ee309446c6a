"""bounded() waits with a time-out; run_synchronously() needs no event loop."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from flowodm import blocking
from flowodm.blocking import bounded, run_synchronously


def test_what_the_call_returns_or_raises_comes_through():
    assert bounded(lambda: 5, 10.0) == 5
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 / 0, 10.0)


def test_a_call_that_does_not_return_is_left_behind():
    over = threading.Event()

    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        bounded(lambda: over.wait(60), 0.1)

    over.set()


def test_a_thread_that_never_starts_is_not_waited_for(monkeypatch):
    """As happens without memory for a new thread."""
    starts = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    monkeypatch.setattr(threading, starts, lambda *_, **__: 1)
    monkeypatch.setattr(blocking, "_START_TIMEOUT", 0.01)

    with pytest.raises(RuntimeError, match="has not started"):
        bounded(lambda: 5, 10.0)
    threading._limbo.clear()


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())

    bounded(threading.current_thread, 10.0).join(10)

    assert set(threading.enumerate()) <= before


def test_a_coroutine_that_never_waits_needs_no_event_loop():
    async def divide(by: int) -> float:
        return 6 / by

    assert run_synchronously(divide(3)) == 2
    with pytest.raises(ZeroDivisionError):
        run_synchronously(divide(0))


def test_a_coroutine_that_waits_is_refused():
    with pytest.raises(RuntimeError, match="outside of an event loop"):
        run_synchronously(asyncio.sleep(0))
