"""How far a partition may be committed. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Watermark:
    """The end of the contiguous prefix of settled records of one partition.

    Kafka's committed offset is one number: everything below it counts as done. So where
    records are settled out of order, only the prefix without a hole may be committed. What
    counts are the records that were delivered, not the offsets between them: compaction and
    transaction markers leave gaps that nobody will ever settle.

    Attributes:
        position: The offset to commit, that is the one after the last record of the prefix.
            None until the first record of the prefix is settled. It never decreases.
    """

    __slots__ = ("_ahead", "_delivered", "position")

    def __init__(self) -> None:
        self.position: int | None = None
        self._delivered: deque[int] = deque()
        self._ahead: set[int] = set()

    def deliver(self, offsets: Iterable[int]) -> None:
        """Records that will be settled in any order; offsets ascend over all calls."""
        self._delivered.extend(offsets)

    def settle(self, offset: int) -> None:
        """One delivered record is settled; the position advances past every settled one."""
        delivered, ahead = self._delivered, self._ahead
        if not delivered or delivered[0] != offset:
            ahead.add(offset)
            return
        delivered.popleft()
        while delivered and delivered[0] in ahead:
            offset = delivered.popleft()
            ahead.remove(offset)
        self.position = offset + 1

    def settle_through(self, offset: int) -> None:
        """Every record up to this one is settled: the way of records handled in offset order.

        Such records need no :meth:`deliver`, so that a batch costs one call instead of two a
        record.
        """
        self.position = offset + 1

    @property
    def settled_ahead(self) -> int:
        """Records settled beyond the position, which a crash now would repeat."""
        return len(self._ahead)
