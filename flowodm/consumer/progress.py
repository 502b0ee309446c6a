"""Which dead letters of a partition were put back, in the words of a commit. Pure."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode, b64encode
from typing import Final

#: What a note begins with; the number is the format's version.
NOTE: Final = "flowodm-replay:1:"
#: A longer note is the last one: a broker takes ``offset.metadata.max.bytes``, 4,096 by default,
#: and what one more batch adds has to fit, too.
LONGEST_NOTE: Final = 3_500
#: Bytes of the largest bitmap that a note is unpacked to.
_LARGEST_BITMAP = 4 * 1024 * 1024


class ReplayProgress:
    """How far one partition of a dead-letter topic was replayed.

    A commit is one offset, and a replay may leave some dead letters and put back others behind
    them. So the first one that was left is committed, and the commit's metadata says which ones
    behind it are done: a compressed bitmap, of a few bytes where they stand together.

    Args:
        offset: What is committed; None if nothing is.
        note: The commit's metadata; what somebody else wrote says nothing.
    """

    __slots__ = ("_before", "_done", "_hole", "_next")

    def __init__(self, offset: int | None = None, note: str = "") -> None:
        self._next = offset
        self._hole: int | None = None
        self._done: set[int] = set()
        self._before = frozenset() if offset is None else _noted(offset, note)

    def is_done(self, offset: int) -> bool:
        """Whether an earlier replay has put it back."""
        return offset in self._before

    def left(self, offset: int) -> None:
        """It was looked at, and stays."""
        self._hole = offset if self._hole is None else min(self._hole, offset)

    def done(self, offset: int) -> None:
        """It was put back, now or earlier, and whatever lies before it was looked at."""
        self._next = max(self._next or 0, offset + 1)
        if self._hole is not None and offset > self._hole:
            self._done.add(offset)

    @property
    def offset(self) -> int | None:
        """The offset to commit; None if there is nothing to commit."""
        return self._next if self._hole is None else self._hole

    @property
    def note(self) -> str:
        """The metadata to commit with it."""
        first = self.offset or 0
        behind = [offset - first for offset in self._done | self._before if offset >= first]
        if not behind:
            return ""
        bitmap = bytearray(max(behind) // 8 + 1)
        for distance in behind:
            bitmap[distance // 8] |= 1 << distance % 8
        return NOTE + b64encode(zlib.compress(bytes(bitmap), 9)).decode()


def _noted(offset: int, note: str) -> frozenset[int]:
    if not note.startswith(NOTE):
        return frozenset()
    try:
        packed = b64decode(note[len(NOTE) :], validate=True)
        bitmap = zlib.decompressobj().decompress(packed, _LARGEST_BITMAP)
    except (binascii.Error, zlib.error, ValueError):
        return frozenset()
    return frozenset(
        offset + 8 * place + bit
        for place, byte in enumerate(bitmap)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    )
