"""Fetched records that wait to be committed ahead of their handlers (before_processing). Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowodm.consumer.offsets import Position

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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

    def put(self, partition: Partition, records: Sequence[Record]) -> None:
        """Records arrived."""
        self._chunks.append((partition, records))
        self.records += len(records)

    def put_back(self, window: Window) -> None:
        """A window was not confirmed: its records come first again."""
        self._chunks.extendleft(reversed(window.chunks))
        self.records += sum(len(records) for _, records in window.chunks)

    def drop(self, partition: Partition) -> None:
        """A partition's records leave; they were never committed."""
        for owner, records in self._chunks:
            if owner is partition:
                partition.let_go(records)
                self.records -= len(records)
        self._chunks = deque(chunk for chunk in self._chunks if chunk[0] is not partition)

    def has_more_than(self, blocked: Collection[Partition]) -> bool:
        """Whether there are records of other partitions than these."""
        return any(partition not in blocked for partition, _ in self._chunks)

    def cut(self, size: int, blocked: Collection[Partition]) -> Window:
        """Take the next records of partitions that are not blocked, as many as asked for."""
        chunks: list[tuple[Partition, Sequence[Record]]] = []
        offsets: dict[TP, Position] = {}
        passed_over: list[tuple[Partition, Sequence[Record]]] = []
        while size and self._chunks:
            partition, records = self._chunks.popleft()
            if partition in blocked:
                passed_over.append((partition, records))
                continue
            now, later = records[:size], records[size:]
            if later:
                self._chunks.appendleft((partition, later))
            chunks.append((partition, now))
            offsets[partition.tp] = _behind(now)
            size -= len(now)
            self.records -= len(now)
        self._chunks.extendleft(reversed(passed_over))
        return Window(offsets, chunks)


def _behind(records: Sequence[Record]) -> Position:
    offset = records[-1].offset()
    assert offset is not None, "a fetched record has an offset"  # noqa: S101 - for the type
    return Position(offset + 1)
