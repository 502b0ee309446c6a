"""The queue of messages for the main loop, which wakes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

M = TypeVar("M")

TOGETHER: Final = 0.25
"""Seconds that a message which can wait is delayed, so that one turn takes many: each worker sends
a heartbeat a second, and a turn looks at all workers."""


class Inbox(Generic[M]):
    """A queue of messages, in the order of their arrival."""

    def __init__(self) -> None:
        self.waiting: deque[M] = deque()
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop that waits for messages."""
        self._loop = loop

    def put(self, message: M) -> None:
        """Queue a message and wake the main loop. From any thread, also before `open`."""
        self.waiting.append(message)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the run has ended
                self._loop.call_soon_threadsafe(self._arrived.set)

    def post(self, message: M, *, can_wait: bool) -> None:
        """Queue a message and wake the main loop, if it `can_wait` within `TOGETHER`.

        To be called on the event loop.
        """
        self.waiting.append(message)
        if not can_wait:
            self._arrived.set()
        elif self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(TOGETHER, self._arrived.set)

    async def wait(self, seconds: float) -> None:
        """Wait for a message, `seconds` at most."""
        urgent = bool(self.waiting) and self._timer is None
        if not urgent and seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
        self._arrived.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take_all(self) -> Iterator[M]:
        """Yield the messages, including those that arrive meanwhile."""
        while self.waiting:
            yield self.waiting.popleft()
