"""The limit at which a loop stops instead of moving a topic to its dead letters. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

#: Consecutive records over which :class:`DeadLetterLimit` looks.
WINDOW: Final = 100


class DeadLetterLimit:
    """Stops a broken handler before it has moved a whole topic to the dead letters.

    Of any 100 records that are settled in a row, at most ``share`` of 100 may be dead letters. So
    a loop whose every record fails stops after ``share * 100``, whatever the topic holds.

    Every record counts once: as dead by :meth:`dead`, or with others by :meth:`settled`. A batch
    that is booked late is counted late: what was settled before a dead letter has to be reported
    before it is asked for.

    Args:
        share: From 0 (not one) to 1 (no limit).

    Raises:
        ValueError: The share is outside of that.
    """

    __slots__ = ("_dead", "_most", "_position", "exceeded")

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"dead_letter_limit must be from 0 to 1, not {share}")
        #: 0.29 * 100 is 28.999999999999996.
        self._most = math.floor(round(share * WINDOW, 6))
        self._position = 0
        self._dead: deque[int] = deque()
        #: Whether a dead letter was refused.
        self.exceeded = False

    def settled(self, records: int) -> None:
        """So many records were settled otherwise than as dead letters."""
        self._position += records

    def dead(self) -> bool:
        """One more record wants to go to the dead letters: whether it may.

        If it may, it is counted; if not, the limit is exceeded and the loop has to stop.
        """
        self._position += 1
        while self._dead and self._dead[0] <= self._position - WINDOW:
            self._dead.popleft()
        if len(self._dead) >= self._most < WINDOW:
            self.exceeded = True
            return False
        if self._most < WINDOW:
            self._dead.append(self._position)
        return True
