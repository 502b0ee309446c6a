"""Which dead letters of a partition were replayed, as a commit's offset and metadata. Pure."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode, b64encode
from typing import Final

NOTE: Final = "flowodm-replay:1:"
"""How a note begins; the number is the format's version."""

LONGEST_NOTE: Final = 3_500
"""Characters of a note after which a replay ends.

A broker takes ``offset.metadata.max.bytes``, 4,096 by default, and what one more batch adds has to
fit, too.
"""


class ReplayProgress:
    """How far one partition of a dead-letter topic was replayed.

    A commit is one offset, but a replay may leave some dead letters and put back others behind
    them. So the offset of the first one that was left is committed, and the commit's metadata, the
    note, says which ones behind it are done: a compressed bitmap, of a few bytes where they stand
    together.

    Args:
        offset: The committed offset, or the partition's first one. Nothing below it is looked at.
        note: The metadata of the commit. It is ignored if another program wrote it.
    """

    __slots__ = ("_base", "_bits", "_first_left", "_next")

    def __init__(self, offset: int, note: str = "") -> None:
        self._base = self._next = offset
        self._bits = bytearray(_bitmap(note))
        self._first_left: int | None = None

    def is_done(self, offset: int) -> bool:
        """Return whether an earlier replay has put this dead letter back."""
        index, bit = divmod(offset - self._base, 8)
        return 0 <= index < len(self._bits) and bool(self._bits[index] >> bit & 1)

    def left(self, offset: int) -> None:
        """Note that a dead letter was looked at, and stays for another replay."""
        if self._first_left is None or offset < self._first_left:
            self._first_left = offset

    def done(self, offset: int) -> None:
        """Note that a dead letter was put back, and that all before it were looked at."""
        self._next = max(self._next, offset + 1)
        if self._first_left is None or offset < self._first_left:
            return
        index, bit = divmod(offset - self._base, 8)
        self._bits.extend(bytes(max(index + 1 - len(self._bits), 0)))
        self._bits[index] |= 1 << bit

    @property
    def offset(self) -> int:
        """The offset to commit."""
        return self._next if self._first_left is None else self._first_left

    @property
    def note(self) -> str:
        """The metadata to commit with it.

        Making it takes time in proportion to the number of offsets behind the committed one.
        """
        bits = int.from_bytes(self._bits, "little") >> (self.offset - self._base)
        if not bits:
            return ""
        bitmap = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
        return NOTE + b64encode(zlib.compress(bitmap)).decode()


def _bitmap(note: str) -> bytes:
    """Return the bitmap of a note; an empty one if the note is not ours."""
    if not note.startswith(NOTE):
        return b""
    try:
        # What has 4 kB is no more than 4 MB unpacked: zlib packs a thousand bytes to one at best.
        return zlib.decompress(b64decode(note[len(NOTE) :], validate=True))
    except (binascii.Error, zlib.error, ValueError):
        return b""
