"""Wait for what can be observed, never for a length of time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

POLL_INTERVAL = 0.02


def wait_until(
    condition: Callable[[], T],
    timeout: float,
    what: str,
    *,
    despite: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Ask ``condition`` until its answer is true, and return that answer.

    ``what`` names the fact in words that fit after "did not become true". AssertionError after
    ``timeout`` seconds, with the last answer. An exception of a kind in ``despite`` is an answer
    too, and not the true one; any other passes through.
    """
    deadline = time.monotonic() + timeout
    while True:
        true, value = _ask(condition, despite)
        if true:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_too_late(timeout, what, value))
        time.sleep(POLL_INTERVAL)


async def wait_until_async(
    condition: Callable[[], T],
    timeout: float,  # noqa: ASYNC109 - as wait_until; asyncio.timeout would lose the last answer
    what: str,
    *,
    despite: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """As :func:`wait_until`, without blocking the event loop between the questions."""
    deadline = time.monotonic() + timeout
    while True:
        true, value = _ask(condition, despite)
        if true:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_too_late(timeout, what, value))
        await asyncio.sleep(POLL_INTERVAL)


def _ask(
    condition: Callable[[], T], despite: type[Exception] | tuple[type[Exception], ...]
) -> tuple[bool, Any]:
    try:
        value = condition()
    except despite as error:
        return False, error
    return bool(value), value


def _too_late(timeout: float, what: str, last: object) -> str:
    return f"did not become true within {timeout:g} s: {what}; last observed: {last!r}"
