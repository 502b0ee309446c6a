"""Runs that wait: for their next attempt, or for the end of a pause. Pure."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowodm.consumer.engine.run import Run


class ParkedRuns:
    """In the order of the times at which they are due; those of one time as they came."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Run]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Run]:
        return (run for _, _, run in self._entries)

    def add(self, run: Run, due: float) -> None:
        """A run waits until then (monotonic seconds); nothing halts it any more."""
        run.halted = run.interrupted = False
        heappush(self._entries, (due, next(self._numbers), run))

    def take(self, now: float) -> Run | None:
        """The run that has waited longest for its turn, if one is due."""
        if not self._entries or self._entries[0][0] > now:
            return None
        run = heappop(self._entries)[2]
        run.started = now
        return run

    @property
    def next_due(self) -> float | None:
        """When the next one is due."""
        return self._entries[0][0] if self._entries else None

    def hurry(self, which: Callable[[Run], bool]) -> None:
        """These wait no longer."""
        self._entries = [
            (float("-inf") if which(run) else due, number, run)
            for due, number, run in self._entries
        ]
        heapify(self._entries)

    def drop(self, which: Callable[[Run], bool]) -> list[Run]:
        """These leave; returns them."""
        dropped = [run for run in self if which(run)]
        self._entries = [entry for entry in self._entries if not which(entry[2])]
        heapify(self._entries)
        return dropped
