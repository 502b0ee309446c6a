"""Which records may be handled at the same time, and which one is next. Pure."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowodm.consumer.partition import Partition
    from flowodm.events import Outcome


class Ordering(Enum):
    """Between which records the order of offsets is kept.

    PARTITION: the records of a partition are handled one at a time.
    KEY: the records of a key are handled one at a time; those without a key in any order.
    UNORDERED: no order.
    """

    PARTITION = "partition"
    KEY = "key"
    UNORDERED = "unordered"


class Record(Protocol):
    """What the engine needs of a record; ``confluent_kafka.Message`` has it."""

    def offset(self) -> int | None:
        """Its place in the partition."""

    def key(self) -> bytes | None:
        """The key's bytes; None if it has none."""

    def value(self) -> bytes | None:
        """The value's bytes; None for a tombstone."""

    def __len__(self) -> int:
        """Bytes of its value."""


class Lane:
    """Records that must be handled one after the other."""

    __slots__ = ("backlog", "busy", "key", "owner")

    def __init__(self, owner: Lanes, key: bytes | None) -> None:
        self.owner = owner
        self.key = key
        self.backlog: deque[Record] = deque()
        self.busy = False


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
        failures: How often the record at ``done`` has failed in a row.
        failed_at: The value of ``done`` that ``failures`` belongs to.
        outcomes: The outcome of settled records that is not plain success, by index.
    """

    __slots__ = (
        "booked",
        "done",
        "failed_at",
        "failures",
        "halted",
        "lane",
        "outcomes",
        "partition",
        "records",
        "started",
        "ticks",
    )

    def __init__(self, lane: Lane, records: Sequence[Record], now: float) -> None:
        self.lane = lane
        self.partition = lane.owner.partition
        self.records = records
        self.done = 0
        self.booked = 0
        self.started = now
        self.ticks: list[float] = []
        self.halted = False
        self.failures = 0
        self.failed_at = -1
        self.outcomes: dict[int, Outcome] = {}

    @property
    def last_activity(self) -> float:
        """When the record that runs now was started, in monotonic seconds."""
        return max(self.ticks[-1], self.started) if self.ticks else self.started

    @property
    def begun(self) -> int:
        """Records that the handler has begun and that are not booked yet."""
        return min(self.done + 1, len(self.records)) - self.booked

    @property
    def left(self) -> int:
        """Records that the handler has not begun."""
        return max(len(self.records) - self.done - 1, 0)

    def count_failure(self) -> int:
        """One more failure of the record at ``done``; returns how many in a row."""
        if self.failed_at != self.done:
            self.failed_at, self.failures = self.done, 0
        self.failures += 1
        return self.failures


class Lanes:
    """The records of one partition that wait for a handler.

    Args:
        ordering: What keeps two records from running at the same time.
        ready: Where lanes that may start queue up; shared by the partitions, so that no
            partition waits for another one that has more to do.
        partition: Whose records these are.
    """

    __slots__ = ("_by_key", "_ordering", "_ready", "partition")

    def __init__(self, ordering: Ordering, ready: deque[Lane], partition: Partition) -> None:
        self.partition = partition
        self._ordering = ordering
        self._ready = ready
        self._by_key: dict[bytes | None, Lane] = {}

    def add(self, records: Sequence[Record]) -> None:
        """Queue records behind those that their order makes them wait for."""
        match self._ordering:
            case Ordering.PARTITION:
                lane = self._lane(None)
                lane.backlog.extend(records)
                self._offer(lane)
            case Ordering.KEY:
                for record in records:
                    key = record.key()
                    lane = Lane(self, None) if key is None else self._lane(key)
                    lane.backlog.append(record)
                    self._offer(lane)
            case Ordering.UNORDERED:
                for record in records:
                    lane = Lane(self, None)
                    lane.backlog.append(record)
                    self._offer(lane)

    def release(self, lane: Lane) -> None:
        """The lane's run is over: its next records may start."""
        lane.busy = False
        if lane.backlog:
            self._offer(lane)
        else:
            self._by_key.pop(lane.key, None)

    def clear(self) -> list[Record]:
        """Forget every record that no run has taken yet, and return those."""
        dropped: list[Record] = []
        others: list[Lane] = []
        for lane in self._ready:
            if lane.owner is self:
                lane.busy = False
                dropped.extend(lane.backlog)
                lane.backlog.clear()
            else:
                others.append(lane)
        self._ready.clear()
        self._ready.extend(others)
        for lane in self._by_key.values():
            dropped.extend(lane.backlog)
            lane.backlog.clear()
        return dropped

    def _lane(self, key: bytes | None) -> Lane:
        lane = self._by_key.get(key)
        if lane is None:
            lane = self._by_key[key] = Lane(self, key)
        return lane

    def _offer(self, lane: Lane) -> None:
        if not lane.busy:
            lane.busy = True
            self._ready.append(lane)


def take(lane: Lane, most: int, now: float) -> Run:
    """The next records of a ready lane as one run."""
    backlog = lane.backlog
    if len(backlog) <= most:
        records = list(backlog)
        backlog.clear()
    else:
        records = [backlog.popleft() for _ in range(most)]
    return Run(lane, records, now)
