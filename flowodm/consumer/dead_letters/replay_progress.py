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


class ReplayProgress:
    """How far one partition of a dead-letter topic was replayed.

    A commit is one offset, and a replay may leave some dead letters and put back others behind
    them. So the first one that was left is committed, and the commit's metadata says which ones
    behind it are done: a compressed bitmap, of a few bytes where they stand together.

    Args:
        offset: What is committed, or else where the partition begins. Nothing below it is
            looked at.
        note: The commit's metadata; what somebody else wrote says nothing.
    """

    __slots__ = ("_base", "_bits", "_hole", "_next")

    def __init__(self, offset: int, note: str = "") -> None:
        self._base = self._next = offset
        self._bits = bytearray(_bitmap(note))
        self._hole: int | None = None

    def is_done(self, offset: int) -> bool:
        """Whether an earlier replay has put it back."""
        place, bit = divmod(offset - self._base, 8)
        return 0 <= place < len(self._bits) and bool(self._bits[place] >> bit & 1)

    def left(self, offset: int) -> None:
        """It was looked at, and stays."""
        self._hole = offset if self._hole is None else min(self._hole, offset)

    def done(self, offset: int) -> None:
        """It was put back, now or earlier, and whatever lies before it was looked at."""
        self._next = max(self._next, offset + 1)
        if self._hole is None or offset < self._hole:
            return
        place, bit = divmod(offset - self._base, 8)
        self._bits.extend(bytes(max(place + 1 - len(self._bits), 0)))
        self._bits[place] |= 1 << bit

    @property
    def offset(self) -> int:
        """The offset to commit."""
        return self._next if self._hole is None else self._hole

    @property
    def note(self) -> str:
        """The metadata to commit with it. Costs in proportion to what lies behind the offset."""
        bits = int.from_bytes(self._bits, "little") >> (self.offset - self._base)
        if not bits:
            return ""
        bitmap = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
        return NOTE + b64encode(zlib.compress(bitmap)).decode()


def _bitmap(note: str) -> bytes:
    if not note.startswith(NOTE):
        return b""
    try:
        # What has 4 kB is no more than 4 MB unpacked: zlib packs a thousand bytes to one at best.
        return zlib.decompress(b64decode(note[len(NOTE) :], validate=True))
    except (binascii.Error, zlib.error, ValueError):
        return b""
