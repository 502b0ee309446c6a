"""What waits for the main loop's next turn, and what makes it turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

M = TypeVar("M")

TOGETHER: Final = 0.25
"""Seconds for which a message that can wait does, so that one turn serves many: each worker beats
once a second, and a turn looks at all of them."""


class Inbox(Generic[M]):
    """Messages in the order in which they came."""

    def __init__(self) -> None:
        self.waiting: deque[M] = deque()
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on this event loop waits."""
        self._loop = loop

    def put(self, message: M) -> None:
        """Have a message served at once. From any thread, and before there is a loop."""
        self.waiting.append(message)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
                self._loop.call_soon_threadsafe(self._arrived.set)

    def post(self, message: M, *, can_wait: bool) -> None:
        """Have a message served at once, or within `TOGETHER`. On the event loop."""
        self.waiting.append(message)
        if not can_wait:
            self._arrived.set()
        elif self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(TOGETHER, self._arrived.set)

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to serve, for so long at most."""
        urgent = bool(self.waiting) and self._timer is None
        if not urgent and seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
        self._arrived.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def served(self) -> Iterator[M]:
        """Take what is there, also what comes meanwhile."""
        while self.waiting:
            yield self.waiting.popleft()
