"""Track a run: records of one lane in the hands of one handler. Pure."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowodm.consumer.engine.lanes import Lane, Record
    from flowodm.consumer.engine.partition import Partition
    from flowodm.events import Outcome

_NO_OUTCOMES: Mapping[Outcome, int] = MappingProxyType({})


class Run:
    """Consecutive records of one lane, handled one after the other by one handler.

    The handler's side counts ``done`` up and appends the time to ``ticks`` after every record;
    the engine reads both when it books, also while the run goes on. That is the whole
    bookkeeping a record costs.

    Attributes:
        lane: Where the records come from.
        records: The records, in offset order.
        partition: The partition's state at the time; its identity is the epoch.
        done: How many of them are settled, from the front.
        booked: How many of them the engine has accounted for.
        started: When the run was handed out, or again after a retry's wait; monotonic seconds.
        ticks: When each record was settled, in monotonic seconds, one entry a settled record.
        halted: Set by the engine: no further record of this run may start.
        interrupted: It is only halted for as long as the loop is paused.
        failures: How often the record at ``done`` has failed in a row.
        failed_at: The value of ``done`` that ``failures`` belongs to.
        whole: The records are one batch: the handler has begun all of them.
        outcomes: The outcome of settled records that is not plain success, by index.
    """

    __slots__ = (
        "booked",
        "done",
        "failed_at",
        "failures",
        "halted",
        "interrupted",
        "lane",
        "outcomes",
        "partition",
        "records",
        "started",
        "ticks",
        "whole",
    )

    def __init__(
        self, lane: Lane, records: Sequence[Record], now: float, *, whole: bool = False
    ) -> None:
        self.lane = lane
        self.partition: Partition = lane.owner.partition
        self.records = records
        self.done = 0
        self.booked = 0
        self.started = now
        self.ticks: list[float] = []
        self.halted = False
        self.interrupted = False
        self.failures = 0
        self.failed_at = -1
        self.whole = whole
        self.outcomes: dict[int, Outcome] = {}

    @property
    def last_activity(self) -> float:
        """When the record that runs now was started, in monotonic seconds."""
        return max(self.ticks[-1], self.started) if self.ticks else self.started

    @property
    def begun(self) -> int:
        """Records that the handler has begun and that are not booked yet."""
        begun = len(self.records) if self.whole else min(self.done + 1, len(self.records))
        return begun - self.booked

    @property
    def left(self) -> int:
        """Records that the handler has not begun."""
        return 0 if self.whole else max(len(self.records) - self.done - 1, 0)

    @property
    def attempt(self) -> int:
        """The number of the present attempt at the record at ``done``, from 1."""
        return self.failures + 1 if self.failed_at == self.done else 1

    def book(self) -> list[float]:
        """Account for what was settled since the last call.

        Returns:
            The seconds that each of these records took.
        """
        first, end = self.booked, self.done
        if first == end:
            return []
        self.booked = end
        self.partition.settle(self.records[first:end])
        return self._seconds(first, end)

    def _seconds(self, first: int, end: int) -> list[float]:
        """Compute durations from the ticks; a wait before a retry does not count as handling."""
        previous = max(self.ticks[first - 1], self.started) if first else self.started
        seconds = []
        for tick in self.ticks[first:end]:
            seconds.append(max(tick - previous, 0.0))
            previous = tick
        return seconds

    def others(self, first: int) -> Mapping[Outcome, int]:
        """Count the booked records, from this one on, that did not end well, by their outcome."""
        if not self.outcomes:
            return _NO_OUTCOMES
        outcomes = self.outcomes.copy()  # the handler may be adding to it
        return Counter(what for at, what in outcomes.items() if first <= at < self.booked)

    def exhaust(self, max_retries: int) -> None:
        """Count all attempts of the record at ``done`` as made, as part of a batch."""
        self.failed_at, self.failures = self.done, max_retries

    def count_failure(self) -> int:
        """Count one more failure of the record at ``done``; return how many in a row."""
        if self.failed_at != self.done:
            self.failed_at, self.failures = self.done, 0
        self.failures += 1
        return self.failures


def take(lane: Lane, most: int, now: float, *, whole: bool = False) -> Run:
    """Make a run of the next records of a ready lane."""
    lane.taken = True
    backlog = lane.backlog
    if len(backlog) <= most:
        records = list(backlog)
        backlog.clear()
    else:
        records = [backlog.popleft() for _ in range(most)]
    return Run(lane, records, now, whole=whole)
