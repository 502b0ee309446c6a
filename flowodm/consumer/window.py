"""Fetched records that wait to be committed ahead of their handlers (before_processing). Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowodm.consumer.offsets import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowodm.consumer.ordering import Record
    from flowodm.consumer.partition import Partition
    from flowodm.events import TP


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
    unstarted: Mapping[Partition, int],
    busy: set[Partition],
    hungry: int,
    size: int,
    hands: int,
) -> dict[Partition, int]:
    """Where a partition is handled by one handler at a time: a share for each of them.

    A partition that stands still, or is slow, so keeps nobody else's records from being
    committed: it has its share and no more.

    Args:
        intake: What waits.
        unstarted: How many records each partition has committed and not started; a partition
            that is not in it gets nothing.
        busy: Partitions that a handler is at, or that have records ready for one.
        hungry: Handlers that have nothing to do, nor anything ready for them.
        size: How many records may be committed and not started, over all.
        hands: How many handlers there are.
    """
    share, total = size // hands, sum(unstarted.values())
    spare = size - total if total <= size // 2 else 0
    quotas = {}
    for partition in intake.partitions:
        if partition not in unstarted:
            continue
        ahead = unstarted[partition]
        more = min(share - ahead, spare) if ahead <= share // 2 else 0
        spare -= more
        if hungry > 0 and partition not in busy:
            hungry -= 1
            more += 1
        if more:
            quotas[partition] = min(more, intake.of(partition))
    return quotas


def _behind(records: Sequence[Record]) -> Position:
    offset = records[-1].offset()
    assert offset is not None, "a fetched record has an offset"  # noqa: S101 - for the type
    return Position(offset + 1)
