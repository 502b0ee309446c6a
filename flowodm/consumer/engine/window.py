"""Fetched records that wait to be committed ahead of their handlers (before_processing). Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.offsets import Position

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from flowodm.consumer.engine.lanes import Lane, Record
    from flowodm.consumer.engine.partition import Partition
    from flowodm.consumer.engine.run import Run
    from flowodm.events import TP


#: Seconds after which a handler that is still at the same record counts as standing still: what
#: is committed behind that record keeps nothing else from being committed (before_processing).
STALLED = 1.0


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
        """How many records of this partition wait."""
        return self._counts[partition]

    def ahead(self, partition: Partition) -> int:
        """How many of a partition's records are committed and not settled."""
        return partition.buffered - self._counts[partition]

    def put(self, partition: Partition, records: Sequence[Record]) -> None:
        """Records arrived."""
        self._chunks.append((partition, records))
        self._count(partition, len(records))

    def put_back(self, window: Window) -> None:
        """A window was not confirmed: its records come first again."""
        self._chunks.extendleft(reversed(window.chunks))
        for partition, records in window.chunks:
            self._count(partition, len(records))

    def drop(self, partition: Partition) -> None:
        """A partition's records leave; they were never committed."""
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


@dataclass(frozen=True, slots=True)
class InHand:
    """Everything that has left the intake and is not settled.

    Attributes:
        active: Runs that handlers are at; the one that was handed out first comes first.
        waiting: Runs that wait for a retry.
        ready: Lanes that wait for a handler.
        buffered: Fetched records that are not settled, those in the intake included.
    """

    active: Collection[Run]
    waiting: Iterable[Run]
    ready: Collection[Lane]
    buffered: int


def quotas(
    intake: Intake, hand: InHand, ordering: Ordering, hands: int, size: int, now: float
) -> dict[Partition, int]:
    """How many records of each partition to commit ahead now.

    Args:
        intake: What waits.
        hand: What was committed before.
        ordering: Whether a partition can keep several handlers busy.
        hands: How many handlers there are.
        size: How many records may be committed and not started.
        now: Monotonic seconds.
    """
    active, waiting = hand.active, hand.waiting
    oldest = next(iter(active), None)  # and no other one stands still for longer
    stalled = oldest is not None and now - oldest.started > STALLED
    stuck = [run for run in active if stalled and now - run.last_activity > STALLED]
    # A partition that is gone has handlers at most, and nothing that could still start.
    started = sum(
        len(run.records) - run.booked if run.partition.gone else run.begun for run in active
    )
    unstarted = hand.buffered - intake.records - started
    if ordering is Ordering.PARTITION:
        held_up = {run.partition for run in (*stuck, *waiting) if not run.partition.gone}
        return one_by_one(intake, unstarted, active, hand.ready, held_up, hands, size)
    unstarted -= sum(len(r.records) - r.done + len(r.lane.backlog) for r in waiting)
    unstarted -= sum(len(r.lane.backlog) + r.left for r in stuck)
    if unstarted > size // 2:
        return {}
    idle = max(hands - len(active), 0)
    return in_order_of_arrival(intake, idle + size - max(unstarted, 0))


def in_order_of_arrival(intake: Intake, most: int) -> dict[Partition, int]:
    """So many records, whoever's they are: where a partition can keep several handlers busy."""
    quotas = {}
    for partition in intake.partitions:
        if most <= 0:
            break
        quotas[partition] = min(intake.of(partition), most)
        most -= quotas[partition]
    return quotas


def one_by_one(
    intake: Intake,
    unstarted: int,
    active: Collection[Run],
    ready: Collection[Lane],
    held_up: set[Partition],
    hands: int,
    size: int,
) -> dict[Partition, int]:
    """Where a partition is handled by one handler at a time: a share for each of them.

    A partition that stands still, or is slow, so keeps nobody else's records from being
    committed: it has its share and no more. This is asked at every end of a run, so what takes
    long with many partitions comes last.

    Args:
        intake: What waits.
        unstarted: How many records are committed and not started, those that are held up too.
        active: What handlers are at.
        ready: What is ready for one.
        held_up: Partitions that get nothing, as they stand still or wait for a retry.
        hands: How many handlers there are.
        size: How many records may be committed and not started.
    """
    begun = {run.partition: run.begun for run in active}
    unstarted -= sum(intake.ahead(p) - begun.get(p, 0) for p in held_up)
    spare = size - unstarted if unstarted <= size // 2 else 0
    hungry = hands - len(active) - len(ready)
    if spare <= 0 and hungry <= 0:
        return {}
    busy = {lane.owner.partition for lane in ready}.union(begun)
    share = size // hands
    quotas = {}
    for partition in intake.partitions:
        if spare <= 0 and hungry <= 0:
            break
        if partition in held_up:
            continue
        ahead = intake.ahead(partition) - begun.get(partition, 0)
        waiting = intake.of(partition)
        more = min(share - ahead, spare, waiting) if ahead <= share // 2 else 0
        spare -= more
        if hungry > 0 and partition not in busy:
            hungry -= 1
            more = min(more + 1, waiting)
        if more:
            quotas[partition] = more
    return quotas


def _behind(records: Sequence[Record]) -> Position:
    offset = records[-1].offset()
    assert offset is not None, "a fetched record has an offset"  # noqa: S101 - for the type
    return Position(offset + 1)
