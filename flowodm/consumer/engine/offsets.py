"""Track how far a partition may be committed. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


NOTE = "flowodm:1:"
"""What a note begins with; the number is the format's version."""
NOTE_SPAN = 16_384
"""The most offsets behind the committed one that a note covers.

Their bitmap in base64 is 2.7 kB; a broker takes ``offset.metadata.max.bytes``, 4,096 by default.
"""


@dataclass(frozen=True, slots=True)
class Position:
    """What is committed for a partition.

    Attributes:
        offset: Everything below it counts as done.
        note: The commit's metadata: which records at or above it are done, too. Whoever owns the
            partition next does not handle those again; see :func:`settled_beyond`.
    """

    offset: int
    note: str = ""


def settled_beyond(position: Position) -> frozenset[int]:
    """Return the offsets that a position's note lists; none if somebody else wrote the note."""
    if not position.note.startswith(NOTE):
        return frozenset()
    try:
        bitmap = int.from_bytes(b64decode(position.note[len(NOTE) :], validate=True), "little")
    except ValueError:  # binascii.Error is one; letters beyond ASCII are another
        return frozenset()
    return frozenset(
        position.offset + bit for bit in range(bitmap.bit_length()) if bitmap >> bit & 1
    )


def _note(offset: int, settled: Iterable[int]) -> str:
    bitmap = 0
    for other in settled:
        if 0 <= other - offset < NOTE_SPAN:
            bitmap |= 1 << (other - offset)
    size = (bitmap.bit_length() + 7) // 8
    return NOTE + b64encode(bitmap.to_bytes(size, "little")).decode() if bitmap else ""


class Watermark:
    """The end of the contiguous prefix of settled records of one partition.

    Kafka's committed offset is one number: everything below it counts as done. So where
    records are settled out of order, only the prefix without a hole may be committed. What
    counts are the records that were delivered, not the offsets between them: compaction and
    transaction markers leave gaps that nobody will ever settle.

    Args:
        done_before: What an earlier owner's note lists and has not come yet. It goes on standing
            in the notes until it comes and is settled, when the caller takes it out of the set.

    Attributes:
        position: The offset to commit, that is the one after the last record of the prefix.
            None until the first record of the prefix is settled. It never decreases.
    """

    __slots__ = ("_ahead", "_delivered", "_done_before", "position")

    def __init__(self, done_before: AbstractSet[int] = frozenset()) -> None:
        self._done_before = done_before
        self.position: int | None = None
        self._delivered: deque[int] = deque()
        self._ahead: set[int] = set()

    def deliver(self, offsets: Iterable[int]) -> None:
        """Expect records that are settled in any order; offsets ascend over all calls."""
        self._delivered.extend(offsets)

    def settle(self, offset: int) -> None:
        """Settle one delivered record; the position advances past every settled one."""
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
        """Settle every record up to this one, where records are handled in offset order.

        Such records need no :meth:`deliver`, so that a batch costs one call instead of two a
        record.
        """
        self.position = offset + 1

    def committable(self) -> Position | None:
        """Return what may be committed: the position, and what is settled beyond it."""
        offset = self.position
        if self._ahead:
            offset = self._delivered[0]  # everything before it is settled or was never there
        if offset is None:
            return None
        return Position(offset, _note(offset, self._ahead | self._done_before))
