"""Queue fetched records until they are committed ahead of their handlers. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowodm.consumer.engine.commit import MOST_AHEAD, CommitAhead
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.offsets import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowodm.consumer.engine.handlers import Handlers
    from flowodm.consumer.engine.lanes import Record
    from flowodm.consumer.engine.partition import Partition
    from flowodm.consumer.engine.rules import Rules
    from flowodm.consumer.engine.run import Run
    from flowodm.events import TP


STALLED = 1.0
"""Seconds after which a handler that is still at the same record counts as standing still.

What is committed behind that record keeps nothing else from being committed (before_processing).
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Records to be committed before their handlers may start."""

    offsets: dict[TP, Position]
    chunks: list[tuple[Partition, Sequence[Record]]]


class Intake:
    """The queue in front of the windows, in the order of arrival.

    Attributes:
        records: How many records wait in it.
    """

    def __init__(self) -> None:
        self.records = 0
        self._chunks: deque[tuple[Partition, Sequence[Record]]] = deque()
        self._counts: Counter[Partition] = Counter()

    @property
    def partitions(self) -> Iterable[Partition]:
        """Those that have records here, the one whose records came first before the others."""
        return dict.fromkeys(partition for partition, _ in self._chunks)

    def of(self, partition: Partition) -> int:
        """Return how many records of this partition wait."""
        return self._counts[partition]

    def ahead(self, partition: Partition) -> int:
        """Return how many of a partition's records are committed and not settled."""
        return partition.buffered - self._counts[partition]

    def put(self, partition: Partition, records: Sequence[Record]) -> None:
        """Queue records that arrived."""
        self._chunks.append((partition, records))
        self._count(partition, len(records))

    def put_back(self, window: Window) -> None:
        """Queue the records of an unconfirmed window first again."""
        self._chunks.extendleft(reversed(window.chunks))
        for partition, records in window.chunks:
            self._count(partition, len(records))

    def drop(self, partition: Partition) -> None:
        """Drop a partition's records, which were never committed."""
        for owner, records in self._chunks:
            if owner is partition:
                partition.let_go(records)
        self._count(partition, -self._counts[partition])
        self._chunks = deque(chunk for chunk in self._chunks if chunk[0] is not partition)

    def cut(self, quotas: Mapping[Partition, int]) -> Window:
        """Take the next records of these partitions, of each at most as many as it says."""
        chunks: list[tuple[Partition, Sequence[Record]]] = []
        offsets: dict[TP, Position] = {}
        kept: deque[tuple[Partition, Sequence[Record]]] = deque()
        left = dict(quotas)
        for partition, records in self._chunks:
            quota = left.get(partition, 0)
            now, later = records[:quota], records[quota:]
            if later:
                kept.append((partition, later))
            if now:
                left[partition] = quota - len(now)
                chunks.append((partition, now))
                offsets[partition.tp] = _behind(now)
                self._count(partition, -len(now))
        self._chunks = kept
        return Window(offsets, chunks)

    def _count(self, partition: Partition, more: int) -> None:
        self.records += more
        self._counts[partition] += more
        if not self._counts[partition]:
            del self._counts[partition]


class Quotas:
    """Decides how many records of each partition to commit ahead now.

    Args:
        intake: What waits.
        handlers: What was committed before and is in hand.
        size: How many records may be committed and not started.
        now: Monotonic seconds.
    """

    def __init__(self, intake: Intake, handlers: Handlers, size: int, now: float) -> None:
        self._intake = intake
        self._handlers = handlers
        self._size = size
        self._stuck = _stuck(handlers, now)

    def in_order_of_arrival(self, buffered: int) -> dict[Partition, int]:
        """Allot records whatever their partition, where one can keep several handlers busy.

        Args:
            buffered: Fetched records that are not settled, those in the intake included.
        """
        unstarted = self._unstarted(buffered)
        for run in self._handlers.parked:
            unstarted -= len(run.records) - run.done + len(run.lane.backlog)
        for run in self._stuck:
            unstarted -= len(run.lane.backlog) + run.left
        if unstarted > self._size // 2:
            return {}
        idle = max(self._handlers.limit - len(self._handlers.active), 0)
        most = idle + self._size - max(unstarted, 0)
        quotas = {}
        for partition in self._intake.partitions:
            if most <= 0:
                break
            quotas[partition] = min(self._intake.of(partition), most)
            most -= quotas[partition]
        return quotas

    def one_by_one(self, buffered: int) -> dict[Partition, int]:
        """Give each partition a share, where one handler at a time works on a partition.

        A partition that stands still, or is slow, so keeps no other one's records from being
        committed: it has its share and no more. This is asked at every end of a run, so what
        takes long with many partitions comes last.

        Args:
            buffered: Fetched records that are not settled, those in the intake included.
        """
        handlers = self._handlers
        begun = {run.partition: run.begun for run in handlers.active}
        held_up = self._held_up()
        unstarted = self._unstarted(buffered)
        unstarted -= sum(self._intake.ahead(p) - begun.get(p, 0) for p in held_up)
        spare = self._size - unstarted if unstarted <= self._size // 2 else 0
        hungry = handlers.limit - len(handlers.active) - len(handlers.ready.queue)
        if spare <= 0 and hungry <= 0:
            return {}
        shares = _Shares(self._intake, begun, self._size // handlers.limit, spare, hungry)
        shares.busy = {lane.owner.partition for lane in handlers.ready.queue}.union(begun)
        for partition in self._intake.partitions:
            if shares.used_up:
                break
            if partition not in held_up:
                shares.give(partition)
        return shares.quotas

    def _unstarted(self, buffered: int) -> int:
        """Count the records that are committed and not started, held up or not."""
        started = 0
        for run in self._handlers.active:
            # A partition that is gone has handlers at most, and nothing that could still start.
            started += len(run.records) - run.booked if run.partition.gone else run.begun
        return buffered - self._intake.records - started

    def _held_up(self) -> set[Partition]:
        """Return the partitions that get nothing, as they stand still or wait for a retry."""
        runs = (*self._stuck, *self._handlers.parked)
        return {run.partition for run in runs if not run.partition.gone}


class _Shares:
    """Hands out shares of a window, until nothing is left for anybody."""

    def __init__(
        self, intake: Intake, begun: dict[Partition, int], share: int, spare: int, hungry: int
    ) -> None:
        self.quotas: dict[Partition, int] = {}
        self.busy: set[Partition] = set()
        self._intake = intake
        self._begun = begun
        self._share = share
        self._spare = spare
        self._hungry = hungry

    @property
    def used_up(self) -> bool:
        return self._spare <= 0 and self._hungry <= 0

    def give(self, partition: Partition) -> None:
        waiting = self._intake.of(partition)
        ahead = self._intake.ahead(partition) - self._begun.get(partition, 0)
        more = 0
        if ahead <= self._share // 2:
            more = min(self._share - ahead, self._spare, waiting)
        self._spare -= more
        if self._hungry > 0 and partition not in self.busy:
            self._hungry -= 1
            more = min(more + 1, waiting)
        if more:
            self.quotas[partition] = more


def _stuck(handlers: Handlers, now: float) -> list[Run]:
    """Return the runs that have been at the same record for longer than `STALLED`."""
    oldest = next(iter(handlers.active), None)
    if oldest is None or now - oldest.started <= STALLED:
        return []  # no other one was handed out earlier
    return [run for run in handlers.active if now - run.last_activity > STALLED]


class Windows:
    """Owns what waits to be committed ahead, and the one window that is under way.

    Args:
        rules: What the loop was told.
        handlers: What is in hand.

    Attributes:
        intake: Fetched records that are not committed.
        under_way: Whether a window was sent that has no answer yet.
    """

    def __init__(self, rules: Rules, handlers: Handlers) -> None:
        self.intake = Intake()
        self.under_way = False
        self._handlers = handlers
        self._by_partition = rules.ordering is Ordering.PARTITION
        self._batch_records = rules.records_in_hand if rules.batch else 0
        self._ahead = CommitAhead(rules.commit_ahead, rules.max_concurrent, MOST_AHEAD)

    @property
    def size(self) -> int:
        """How many records may be committed and not started: every handler's batch at least."""
        return max(self._ahead.size, self._batch_records)

    @property
    def waiting(self) -> bool:
        """Whether fetched records wait to be committed ahead, and could start then."""
        parked = self._handlers.parked
        if not self._by_partition or not parked:
            return self.intake.records > 0
        blocked = {run.partition for run in parked}
        return any(partition not in blocked for partition in self.intake.partitions)

    def quotas(self, buffered: int, now: float) -> dict[Partition, int]:
        """Return how many records of each partition to commit ahead now.

        Args:
            buffered: Fetched records that are not settled, those in the intake included.
            now: Monotonic seconds.
        """
        if not self.intake.records:
            return {}
        quotas = Quotas(self.intake, self._handlers, self.size, now)
        if self._by_partition:
            return quotas.one_by_one(buffered)
        return quotas.in_order_of_arrival(buffered)

    def cut(self, buffered: int, now: float) -> Window | None:
        """Take the next window out of the intake, if it is time for one."""
        quotas = self.quotas(buffered, now)
        if not quotas:
            return None
        self.under_way = True
        return self.intake.cut(quotas)

    def measured(self, records: int, seconds: float) -> None:
        """Take into account how long records took."""
        self._ahead.measured(records, seconds)


def _behind(records: Sequence[Record]) -> Position:
    offset = records[-1].offset()
    assert offset is not None, "a fetched record has an offset"  # noqa: S101 - for the type
    return Position(offset + 1)
