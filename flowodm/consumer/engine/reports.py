"""Add up what was settled and the observers have not been told yet. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowodm.events import Handled, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowodm.events import TP


class _Sum:
    """The sum of one partition."""

    __slots__ = ("others", "processed", "seconds")

    def __init__(self) -> None:
        self.processed = 0
        self.others: dict[Outcome, int] = {}
        self.seconds: list[float] = []


class Reports:
    """Adds up what is settled, so that an observer is called once a batch.

    Where records of many keys or partitions are handled at the same time, most runs are of one
    record: an event for each would cost as much as the rest of the record's bookkeeping.

    Attributes:
        records: How many records it holds.
    """

    __slots__ = ("_sums", "records")

    def __init__(self) -> None:
        self.records = 0
        self._sums: dict[TP, _Sum] = {}

    def __iter__(self) -> Iterator[Handled]:
        """Yield the events, one for each partition."""
        for (topic, partition), its in self._sums.items():
            processed = {Outcome.PROCESSED: its.processed} if its.processed else {}
            yield Handled(topic, partition, {**processed, **its.others}, its.seconds)

    def add(self, tp: TP, seconds: list[float], others: Mapping[Outcome, int]) -> None:
        """Add settled records.

        Args:
            tp: Their partition.
            seconds: How long each of them took.
            others: How many of them were not processed, by their outcome.
        """
        its = self._of(tp)
        its.seconds += seconds
        its.processed += len(seconds)
        self.records += len(seconds)
        for outcome, count in others.items():
            its.others[outcome] = its.others.get(outcome, 0) + count
            its.processed -= count

    def lost(self, tp: TP, records: int) -> None:
        """Add records that were committed and that nobody will handle."""
        others = self._of(tp).others
        others[Outcome.LOST] = others.get(Outcome.LOST, 0) + records
        self.records += records

    def take(self) -> list[Handled]:
        """Return the events, and begin anew."""
        if not self._sums:
            return []
        events = list(self)
        self._sums = {}
        self.records = 0
        return events

    def _of(self, tp: TP) -> _Sum:
        its = self._sums.get(tp)
        if its is None:
            its = self._sums[tp] = _Sum()
        return its
