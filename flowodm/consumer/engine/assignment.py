"""Own the partitions that are assigned to a loop, and the buffer that they share. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowodm.consumer.engine.partition import Buffer, Partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowodm.consumer.engine.lanes import Ordering, ReadyLanes
    from flowodm.consumer.engine.offsets import Position
    from flowodm.events import TP


class Assignment:
    """Owns the partitions of a loop.

    Args:
        ordering: Between which records order is kept.
        ready: Where lanes that may start queue up.

    Attributes:
        partitions: Those that are assigned.
        buffer: What is fetched and not settled, of all of them.
    """

    def __init__(self, ordering: Ordering, ready: ReadyLanes) -> None:
        self.partitions: dict[TP, Partition] = {}
        self.buffer = Buffer()
        self._ordering = ordering
        self._ready = ready

    def add(self, tps: Iterable[TP], committed: Mapping[TP, Position]) -> None:
        """Begin a new epoch of these partitions."""
        for tp in tps:
            self.partitions[tp] = Partition(
                tp, self._ordering, self._ready, self.buffer, committed.get(tp)
            )

    def chosen(self, tps: Iterable[TP] | None) -> list[Partition]:
        """Return these partitions, as far as they are assigned; None: all."""
        if tps is None:
            return list(self.partitions.values())
        return [self.partitions[tp] for tp in tps if tp in self.partitions]

    @property
    def some_leaving(self) -> bool:
        """Whether partitions are being given up."""
        return any(partition.leaving for partition in self.partitions.values())

    def quiet(self, tps: Iterable[TP] | None) -> bool:
        """Return whether nothing of these partitions is under way or has to be."""
        return not any(partition.buffered for partition in self.chosen(tps))

    def uncommitted(self, tps: Iterable[TP] | None) -> dict[TP, Position]:
        """Return what may be committed of these partitions and is not."""
        offsets = {}
        for partition in self.chosen(tps):
            position = partition.uncommitted
            if position is not None:
                offsets[partition.tp] = position
        return offsets

    def committed(self, offsets: Mapping[TP, Position]) -> None:
        """Record a commit that the broker confirmed."""
        for tp, position in offsets.items():
            partition = self.partitions.get(tp)
            if partition is not None:
                partition.committed(position)

    def positions(self) -> dict[TP, int | None]:
        """Return the settled position of each partition; None where it is not known."""
        return {tp: partition.position for tp, partition in self.partitions.items()}

    def idle(self, busy: set[Partition], *, holding_is_idle: bool) -> dict[TP, int]:
        """Return the position of each partition of which nothing is in hand.

        Args:
            busy: Partitions with a run under way.
            holding_is_idle: Whether one that holds records is idle nevertheless, as a free
                handler would have taken them.
        """
        idle = {}
        for tp, partition in self.partitions.items():
            waits = partition.buffered > 0 and not holding_is_idle
            position = partition.position
            if partition not in busy and not waits and position is not None:
                idle[tp] = position
        return idle
