"""Decide which records may be handled at the same time, and which one is next. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        """Return its place in the partition."""

    def key(self) -> bytes | None:
        """Return the key's bytes; None if it has none."""

    def value(self) -> bytes | None:
        """Return the value's bytes; None for a tombstone."""

    def __len__(self) -> int:
        """Return the bytes of its value."""


@dataclass(frozen=True, slots=True)
class BatchRule:
    """How many records a batch handler gets at once.

    Attributes:
        size: At most so many; they are of one partition and in offset order.
        timeout: Seconds that a smaller batch waits for more records.
    """

    size: int
    timeout: float


class Lane:
    """Records that must be handled one after the other.

    Attributes:
        owner: The partition's lanes.
        key: The records' key, where that is what they have in common.
        backlog: Those that no run has taken.
        busy: A run is under way, or the lane waits in the queue of those that may start.
        since: When the first record of the backlog came.
        due: When its records may start though they are no full batch; None if they do not wait.
        taken: A run was made from it.
    """

    __slots__ = ("backlog", "busy", "due", "key", "owner", "since", "taken")

    def __init__(self, owner: Lanes, key: bytes | None) -> None:
        self.owner = owner
        self.key = key
        self.backlog: deque[Record] = deque()
        self.busy = False
        self.since = 0.0
        self.due: float | None = None
        self.taken = False


class ReadyLanes:
    """The lanes that may start, shared by the partitions of a loop.

    They queue up, so that no partition waits for another one that has more to do. With batches,
    lanes whose records are no full batch wait beside the queue until they are, or are due.

    Args:
        batch: The rule of batches, if the handler wants some.
    """

    def __init__(self, batch: BatchRule | None = None) -> None:
        self.batch = batch
        self.queue: deque[Lane] = deque()
        self._filling: deque[tuple[float, Lane]] = deque()  # about in the order of their due times

    def offer(self, lane: Lane, *, hurried: bool) -> None:
        """Let a lane start that has records and is not busy, or wait for more records."""
        batch = self.batch
        if batch is None or hurried or len(lane.backlog) >= batch.size:
            lane.due = None
            lane.busy = True
            self.queue.append(lane)
        elif lane.due is None:
            lane.due = lane.since + batch.timeout
            self._filling.append((lane.due, lane))

    def next(self, now: float) -> Lane | None:
        """Return the lane whose turn it is, if there is one."""
        if self._filling:
            self._ripen(now)
        return self.queue.popleft() if self.queue else None

    def next_due(self) -> float | None:
        """Return when the next batch that waits may start, full or not."""
        return min((due for due, lane in self._filling if lane.due == due), default=None)

    def remove(self, owner: Lanes) -> list[Lane]:
        """Forget the lanes of one partition, and return those."""
        waiting = (lane for _, lane in self._filling)
        removed = [lane for lane in (*self.queue, *waiting) if lane.owner is owner]
        others = [lane for lane in self.queue if lane.owner is not owner]
        self.queue.clear()
        self.queue.extend(others)
        self._filling = deque(entry for entry in self._filling if entry[1].owner is not owner)
        for lane in removed:
            lane.busy, lane.due = False, None
        return removed

    def hurry(self, owner: Lanes) -> None:
        """Let the batches of one partition wait no longer for more records."""
        for due, lane in self._filling:
            if lane.owner is owner and lane.due == due:
                self.offer(lane, hurried=True)

    def _ripen(self, now: float) -> None:
        """Let those start that are due; forget those that were full before."""
        waiting = self._filling
        self._filling = deque()
        for due, lane in waiting:
            if lane.due != due:
                continue
            if due <= now:
                self.offer(lane, hurried=True)
            else:
                self._filling.append((due, lane))


class Lanes:
    """The records of one partition that wait for a handler.

    Args:
        ordering: What keeps two records from running at the same time.
        ready: Where lanes that may start queue up.
        partition: Whose records these are; opaque here.

    Attributes:
        hurried: Batches are not waited for any more: the partition is about to end.
    """

    __slots__ = ("_by_key", "_open", "_ordering", "_ready", "hurried", "partition")

    def __init__(self, ordering: Ordering, ready: ReadyLanes, partition: Any) -> None:
        self.partition = partition
        self.hurried = False
        self._ordering = ordering
        self._ready = ready
        self._by_key: dict[bytes | None, Lane] = {}
        self._open: Lane | None = None

    def add(self, records: Sequence[Record], now: float) -> None:
        """Queue records behind those that their order makes them wait for."""
        match self._ordering:
            case Ordering.PARTITION:
                lane = self._lane(None)
                if not lane.backlog:
                    lane.since = now
                lane.backlog.extend(records)
                self._offer(lane)
            case Ordering.KEY:
                for record in records:
                    key = record.key()
                    lane = Lane(self, None) if key is None else self._lane(key)
                    lane.backlog.append(record)
                    self._offer(lane)
            case Ordering.UNORDERED if self._ready.batch is not None:
                for record in records:
                    lane = self._with_room(self._ready.batch.size, now)
                    lane.backlog.append(record)
                    self._offer(lane)
            case Ordering.UNORDERED:
                for record in records:
                    lane = Lane(self, None)
                    lane.backlog.append(record)
                    self._offer(lane)

    def release(self, lane: Lane) -> None:
        """Let the next records of a lane start, as its run is over."""
        lane.busy = False
        if lane.backlog:
            self._offer(lane)
        else:
            self._by_key.pop(lane.key, None)

    def hurry(self) -> None:
        """Hand over what there is: batches wait for no further records."""
        self.hurried = True
        self._ready.hurry(self)

    def clear(self) -> list[Record]:
        """Forget every record that no run has taken yet, and return those."""
        dropped: list[Record] = []
        for lane in (*self._ready.remove(self), *self._by_key.values()):
            dropped.extend(lane.backlog)
            lane.backlog.clear()
        self._open = None
        return dropped

    def _lane(self, key: bytes | None) -> Lane:
        lane = self._by_key.get(key)
        if lane is None:
            lane = self._by_key[key] = Lane(self, key)
        return lane

    def _with_room(self, size: int, now: float) -> Lane:
        lane = self._open
        if lane is None or lane.taken or len(lane.backlog) >= size:
            lane = self._open = Lane(self, None)
            lane.since = now
        return lane

    def _offer(self, lane: Lane) -> None:
        if not lane.busy:
            self._ready.offer(lane, hurried=self.hurried)
