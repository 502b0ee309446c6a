"""Decides whether the kernel's out-of-memory killer ended a worker. Pure.

To the process that reaps it, such a death is a SIGKILL like any other. But the kernel counts the
processes that it kills, see `supervisor.process.oom_counter`: each kill that was counted just
before a worker's SIGKILL explains one such end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

RECENT: Final = 5.0
"""Seconds after which a kill explains no worker's end any more: it ended another process."""
LOOK: Final = 1.0
"""Seconds between two looks at the count while no worker ends."""
_MOST: Final = 1000
"""Kills that are remembered at most."""


class OomKills:
    """Matches SIGKILLed workers with the kernel's count of out-of-memory kills.

    Args:
        count: Returns the number of kills so far; None if it is unknown.
    """

    def __init__(self, count: Callable[[], int | None]) -> None:
        self._count = count
        self._counted = count() or 0
        self._looked = 0.0
        self._unexplained: deque[float] = deque(maxlen=_MOST)

    def look(self, now: float) -> None:
        """Notice kills. Call it about once a second (monotonic seconds)."""
        if now - self._looked >= LOOK:
            self._look(now)

    def explains(self, now: float) -> bool:
        """Return whether the kernel killed a process that has just ended by SIGKILL.

        Each kill explains one end.
        """
        self._look(now)
        if not self._unexplained:
            return False
        self._unexplained.popleft()
        return True

    def _look(self, now: float) -> None:
        self._looked = now
        kills = self._count()
        if kills is not None:
            self._unexplained.extend([now] * min(kills - self._counted, _MOST))
            self._counted = kills
        while self._unexplained and now - self._unexplained[0] > RECENT:
            self._unexplained.popleft()
