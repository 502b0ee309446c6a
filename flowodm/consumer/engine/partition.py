"""Track one assigned partition: what is buffered, what is settled. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowodm.consumer.engine.lanes import Lanes, Ordering
from flowodm.consumer.engine.offsets import Position, Watermark, settled_beyond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowodm.consumer.engine.lanes import ReadyLanes, Record
    from flowodm.events import TP

    LogEnd = Callable[[TP], int | None]
    """Where a partition's log ends, as far as that is known."""


class Buffer:
    """What is fetched and not settled, over all partitions of a loop.

    Attributes:
        records: How many records.
        size: Bytes of their values.
    """

    __slots__ = ("records", "size")

    def __init__(self) -> None:
        self.records = 0
        self.size = 0


class Partition:
    """The state of one assignment of one partition: a new assignment is a new object.

    That identity is the epoch: a result that arrives after the partition was revoked or lost
    still points to the old object, which is ``gone``, and changes nothing.

    Attributes:
        tp: Topic and partition number.
        watermark: How far it may be committed.
        confirmed: What the group has committed, as far as that is known.
        buffered: Fetched records that are not settled.
        gone: It is no longer ours.
        leaving: It is being given up, but handlers may still finish.
        paused: Fetching from it is paused.
    """

    __slots__ = (
        "_buffer",
        "_done_before",
        "_end",
        "_first",
        "_in_order",
        "_next",
        "buffered",
        "confirmed",
        "gone",
        "lanes",
        "leaving",
        "paused",
        "tp",
        "watermark",
    )

    def __init__(
        self,
        tp: TP,
        ordering: Ordering,
        ready: ReadyLanes,
        buffer: Buffer,
        committed: Position | None = None,
    ) -> None:
        self.tp = tp
        self._done_before = set() if committed is None else set(settled_beyond(committed))
        self._buffer = buffer
        # Records that come in offset order need no list of what was delivered.
        self._in_order = ordering is Ordering.PARTITION and not self._done_before
        self.lanes = Lanes(ordering, ready, self)
        self.watermark = Watermark(self._done_before)
        self.confirmed = committed
        self._first: int | None = None  # the first offset that was fetched
        self._next: int | None = None  # the one behind the last that was fetched
        self._end: int | None = None  # Kafka's, if nothing was fetched since it was told
        self.buffered = 0
        self.gone = False
        self.leaving = False
        self.paused = False

    @property
    def uncommitted(self) -> Position | None:
        """What to commit next, or None if there is nothing new to commit."""
        position = self.watermark.committable()
        return None if position == self.confirmed else position

    def committed(self, position: Position) -> None:
        """Record a commit that the broker confirmed."""
        newer = self.confirmed is None or position.offset >= self.confirmed.offset
        # Lower and no late answer: the log has begun anew below it (a topic made again, a
        # truncated log). Without this the same offset would be committed for ever.
        if newer or position == self.uncommitted:
            self.confirmed = position

    @property
    def position(self) -> int | None:
        """The offset up to which it is settled, as far as that is known.

        The markers of transactions and what was aborted take offsets too, and are never fetched:
        with everything settled it is the end that Kafka tells.
        """
        if self._end is not None and not self.buffered:
            return self._end
        if self.watermark.position is not None:
            return self.watermark.position
        if self._first is not None:
            return self._first
        return None if self.confirmed is None else self.confirmed.offset

    def unseen(self, records: Sequence[Record], log_end: LogEnd | None) -> Sequence[Record]:
        """Return the records without those that this assignment has fetched before.

        librdkafka may go back by itself: where a rebalance comes while it looks up where to
        begin, an old timer sets a partition back to the beginning half a second after it was
        started. Only where the log ends below what was fetched (a topic that was made again, a
        log that was cut) are lower offsets other records.
        """
        first, last = _offset(records[0]), _offset(records[-1])
        expected = first if self._next is None else self._next
        # The second: it went back in the middle of this fetch.
        if first < expected or last - first + 1 < len(records):
            end = None if log_end is None else log_end(self.tp)
            if end is not None and end >= _first_peak(records, expected):
                records = _ascending(records, expected)
            else:
                self._done_before.clear()  # these are other records than those of the note
        if records:
            self._next = _offset(records[-1]) + 1
        return records

    def hold(self, records: Sequence[Record]) -> None:
        """Count fetched records towards the buffer."""
        self._end = None
        if self._first is None:
            self._first = _offset(records[0])
        self.buffered += len(records)
        self._buffer.records += len(records)
        self._buffer.size += sum(map(len, records))

    def reached(self, end: int) -> None:
        """Record that everything before this offset has been fetched."""
        self._end = end

    def let_go(self, records: Sequence[Record]) -> None:
        """Take records out of the buffer, settled or dropped."""
        self.buffered -= len(records)
        self._buffer.records -= len(records)
        self._buffer.size -= sum(map(len, records))

    def offer(self, records: Sequence[Record], now: float) -> None:
        """Let held records be handled from now on."""
        if not self._in_order:
            self.watermark.deliver(_offset(record) for record in records)
        if self._done_before:
            records = self._without_done(records)
        if records:
            self.lanes.add(records, now)

    def _without_done(self, records: Sequence[Record]) -> Sequence[Record]:
        """Settle the records that the partition's previous owner had already handled."""
        done = [record for record in records if _offset(record) in self._done_before]
        rest = [record for record in records if _offset(record) not in self._done_before]
        self.let_go(done)
        for record in done:
            self._done_before.discard(_offset(record))
            self.watermark.settle(_offset(record))
        return rest

    def drop_waiting(self) -> int:
        """Drop the records that no run has taken; return how many those were."""
        waiting = self.lanes.clear()
        self.let_go(waiting)
        return len(waiting)

    def settle(self, records: Sequence[Record]) -> None:
        """Account for records of one run that were settled, in offset order."""
        self.let_go(records)
        if self._in_order:
            self.watermark.settle_through(_offset(records[-1]))
        else:
            for record in records:
                self.watermark.settle(_offset(record))


def _offset(record: Record) -> int:
    offset = record.offset()
    assert offset is not None, "a fetched record has an offset"  # noqa: S101 - for the type
    return offset


def _first_peak(records: Sequence[Record], expected: int) -> int:
    """Return the offset that was expected when a lower one came."""
    for record in records:
        if (offset := _offset(record)) < expected:
            break
        expected = offset + 1
    return expected


def _ascending(records: Sequence[Record], expected: int) -> list[Record]:
    """Return the records that take the offsets further than those before them."""
    kept = []
    for record in records:
        if (offset := _offset(record)) >= expected:
            kept.append(record)
            expected = offset + 1
    return kept
