"""Book what became of records, once, and count it. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from flowodm.consumer.engine.reports import Reports
from flowodm.consumer.engine.retry import Stop
from flowodm.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowodm.consumer.engine.partition import Partition
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.engine.window import Windows


WINDOW: Final = 100
"""Consecutive records over which `DeadLetterLimit` looks."""


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
        self._most = math.floor(round(share * WINDOW, 6))
        # 0.29 * 100 is 28.999999999999996.
        self._position = 0
        self._dead: deque[int] = deque()
        self.exceeded = False
        """Whether a dead letter was refused."""

    def settled(self, records: int) -> None:
        """Count records that were settled otherwise than as dead letters."""
        self._position += records

    def dead(self) -> bool:
        """Count one more dead letter, if the limit allows it; return whether it does.

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


class Settlement:
    """Owns what is known of settled and of lost records.

    Args:
        dead_letter_limit: The share of records that may go to dead letters.
        windows: Told how long records took; None: after_processing, where nothing is ever lost.

    Attributes:
        processed: Records that were settled by their handlers.
        reports: What the observers are to be told.
    """

    def __init__(self, dead_letter_limit: float, windows: Windows | None) -> None:
        self.processed = 0
        self.reports = Reports()
        self._share = dead_letter_limit
        self._letters = DeadLetterLimit(dead_letter_limit)
        self._windows = windows

    def book(self, run: Run) -> None:
        """Account for what a run has settled since it was last booked."""
        first = run.booked
        seconds = run.book()
        if not seconds:
            return
        others = run.others(first)
        self.processed += len(seconds) - sum(others.values())
        dead = others.get(Outcome.DEAD_LETTERED, 0)  # counted when they were allowed
        self._letters.settled(len(seconds) - dead)
        self.reports.add(run.partition.tp, seconds, others)
        if self._windows is not None:
            self._windows.measured(len(seconds), sum(seconds))

    def refuses_dead_letter(self, active: Iterable[Run]) -> Stop | None:
        """Decide whether one more dead letter is one too many.

        A broken handler stops the loop before it has emptied the topic into the bin.

        Args:
            active: The runs under way; what they have settled comes first.
        """
        for run in active:
            self.book(run)
        if self._letters.dead():
            return None
        return Stop(f"more than {self._share:.0%} of the last {WINDOW} records are dead letters")

    def abandon(self, run: Run) -> None:
        """Leave the rest of a run, and what waits behind it in its lane.

        after_processing: it is fetched again, by us or by another member.
        """
        rest = [*run.records[run.done :], *run.lane.backlog]
        run.lane.backlog.clear()
        run.partition.let_go(rest)
        self.lost(run.partition, len(rest))
        if self._windows is not None and not run.partition.gone:
            # A window that is being committed now may still bring records of this lane. After
            # processing the lane stays closed: its next record would pass the one left here.
            run.partition.lanes.release(run.lane)

    def give_up(self, run: Run, together: int, now: float) -> None:
        """Mark records of a run that have failed for good, and the loop with them.

        before_processing: they are lost; what was committed behind them is still handled, as
        nobody else will.
        """
        goes_on = self._windows is not None and not run.partition.gone
        if goes_on:
            for _ in range(together):
                run.outcomes[run.done] = Outcome.LOST
                run.ticks.append(now)
                run.done += 1
        run.halted, run.interrupted = True, goes_on

    def lost(self, partition: Partition, records: int) -> None:
        """Report records that are not handled though they may be committed (at most once)."""
        if self._windows is not None and records:
            self.reports.lost(partition.tp, records)
