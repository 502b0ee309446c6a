"""Replace the brokers' addresses in Kafka's answers. Pure.

The layouts are those of MetadataResponse, FindCoordinatorResponse, DescribeClusterResponse and
ApiVersionsResponse of Kafka's protocol guide.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

Address: TypeAlias = tuple[str, int]
"""Host and port."""
Translate: TypeAlias = Callable[[Address], Address]

PRODUCE: Final = 0
FETCH: Final = 1
METADATA: Final = 3
FIND_COORDINATOR: Final = 10
API_VERSIONS: Final = 18
DESCRIBE_CLUSTER: Final = 60

CHANGED: Final = frozenset({METADATA, FIND_COORDINATOR, API_VERSIONS, DESCRIBE_CLUSTER})
"""The requests whose answers are changed."""
LARGEST: Final = {PRODUCE: 9, FETCH: 15, METADATA: 13, FIND_COORDINATOR: 6, DESCRIBE_CLUSTER: 2}
"""The largest versions that clients learn of.

Later ones have other layouts; answers to later Produce and Fetch requests name new leaders
(KIP-951), to which clients would connect directly.
"""
_FLEXIBLE: Final = {METADATA: 9, FIND_COORDINATOR: 3, DESCRIBE_CLUSTER: 0}
"""The first versions with compact lengths and tagged fields (KIP-482)."""


def changed(api: int, version: int, body: bytes, translate: Translate) -> bytes:
    """Return an answer with the brokers' addresses replaced.

    Args:
        api: The API key of the request.
        version: The version of the request.
        body: The bytes behind the correlation id.
        translate: Maps a broker's address to the one that replaces it.
    """
    if api == API_VERSIONS:
        return _capped(version, body)
    copy = _Copy(body, translate, flexible=version >= _FLEXIBLE[api])
    copy.tags()
    if api == METADATA:
        _metadata(copy, version)
    elif api == FIND_COORDINATOR:
        _find_coordinator(copy, version)
    else:
        _describe_cluster(copy, version)
    return copy.result()


def _metadata(copy: _Copy, version: int) -> None:
    copy.skip(4 if version >= 3 else 0)  # noqa: PLR2004 - throttle_time_ms since version 3
    for _ in range(copy.length()):
        copy.skip(4)  # node_id
        copy.address()
        if version >= 1:
            copy.text()  # rack
        copy.tags()


def _find_coordinator(copy: _Copy, version: int) -> None:
    copy.skip(4 if version >= 1 else 0)  # throttle_time_ms
    if version >= 4:  # noqa: PLR2004 - many coordinators since version 4
        for _ in range(copy.length()):
            copy.text()  # key
            copy.skip(4)  # node_id
            copy.address()
            copy.skip(2)  # error_code
            copy.text()  # error_message
            copy.tags()
        return
    copy.skip(2)  # error_code
    if version >= 1:
        copy.text()  # error_message
    copy.skip(4)  # node_id
    copy.address()


def _describe_cluster(copy: _Copy, version: int) -> None:
    copy.skip(6)  # throttle_time_ms, error_code
    copy.text()  # error_message
    copy.skip(1 if version >= 1 else 0)  # endpoint_type
    copy.text()  # cluster_id
    copy.skip(4)  # controller_id
    for _ in range(copy.length()):
        copy.skip(4)  # broker_id
        copy.address()
        copy.text()  # rack
        copy.skip(1 if version >= 2 else 0)  # noqa: PLR2004 - is_fenced since version 2
        copy.tags()


def _capped(version: int, body: bytes) -> bytes:
    """Reduce the largest versions in an ApiVersions answer, whose header never has tags."""
    out = bytearray(body)
    copy = _Copy(body, lambda address: address, flexible=version >= 3)  # noqa: PLR2004 - KIP-511
    if copy.skip(2) != b"\0\0":
        return body  # an error, which a broker sends in version 0
    for _ in range(copy.length()):
        api, _, largest = struct.unpack(">hhh", copy.skip(6))
        if largest > LARGEST.get(api, largest):
            struct.pack_into(">h", out, copy.at - 2, LARGEST[api])
        copy.tags()
    return bytes(out)


class _Copy:
    """Reads a message field by field, and copies it with other addresses."""

    def __init__(self, data: bytes, translate: Translate, *, flexible: bool) -> None:
        self._data = data
        self._translate = translate
        self._flexible = flexible
        self._out: list[bytes] = []
        self._copied = 0
        self.at = 0

    def result(self) -> bytes:
        """Return the copy; bytes that were not read stay as they are."""
        return b"".join([*self._out, self._data[self._copied :]])

    def skip(self, size: int) -> bytes:
        """Read ``size`` bytes."""
        self.at += size
        if self.at > len(self._data):
            raise ValueError(f"the message ends before byte {self.at}")
        return self._data[self.at - size : self.at]

    def length(self) -> int:
        """Read the number of an array's elements; 0 for a null array."""
        return max(self._size(4), 0)

    def text(self) -> bytes:
        """Read a string, which may be null."""
        return self.skip(max(self._size(2), 0))

    def tags(self) -> None:
        """Read the tagged fields, which only flexible versions have."""
        for _ in range(self._varint() if self._flexible else 0):
            self._varint()
            self.skip(self._varint())

    def address(self) -> None:
        """Read host and port, and replace them."""
        begin = self.at
        host = self.text().decode()
        (port,) = struct.unpack(">i", self.skip(4))
        if not host or port < 0:
            return  # there is no coordinator yet
        host, port = self._translate((host, port))
        data = host.encode()
        size = _varint_of(len(data) + 1) if self._flexible else struct.pack(">h", len(data))
        self._out += [self._data[self._copied : begin], size, data, struct.pack(">i", port)]
        self._copied = self.at

    def _size(self, width: int) -> int:
        """Read a length of ``width`` bytes; a compact one is the length plus 1, or 0 for null."""
        if self._flexible:
            return self._varint() - 1
        return int.from_bytes(self.skip(width), "big", signed=True)

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self.skip(1)[0]) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift


def _varint_of(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class Conversation:
    """The requests and answers of one connection, which come in pieces of any size.

    Args:
        translate: Maps a broker's address to the one that replaces it.
    """

    def __init__(self, translate: Translate) -> None:
        self._translate = translate
        self._pending: dict[int, tuple[int, int]] = {}
        self._requests = _Frames(8, self._note_request)
        self._answers = _Frames(4, self._is_changed)

    def request(self, piece: bytes) -> bytes:
        """Return the client's bytes as they go on to the broker."""
        return self._requests.feed(piece, lambda frame: frame)

    def answer(self, piece: bytes) -> bytes:
        """Return the broker's bytes as they go on to the client, with other addresses."""
        return self._answers.feed(piece, self._changed)

    def _note_request(self, head: bytes) -> bool:
        api, version, correlation = struct.unpack(">hhi", head)
        if api in CHANGED:
            self._pending[correlation] = (api, version)
        return False

    def _is_changed(self, head: bytes) -> bool:
        return int.from_bytes(head, "big", signed=True) in self._pending

    def _changed(self, frame: bytes) -> bytes:
        correlation = int.from_bytes(frame[:4], "big", signed=True)
        api, version = self._pending.pop(correlation)
        try:
            return frame[:4] + changed(api, version, frame[4:], translate=self._translate)
        except (ValueError, struct.error):
            return frame  # such as an answer in version 0 to an unknown version of ApiVersions


class _Frames:
    """Cuts a stream into frames, each behind its size; holds back only frames to be changed.

    Args:
        head: The number of a frame's first bytes that decide whether it is changed.
        is_changed: Takes these bytes, and decides.
    """

    def __init__(self, head: int, is_changed: Callable[[bytes], bool]) -> None:
        self._head = head
        self._is_changed = is_changed
        self._held = b""
        self._passing = 0  # bytes of the current frame that pass unchanged

    def feed(self, piece: bytes, change: Callable[[bytes], bytes]) -> bytes:
        """Take a piece of the stream; return the bytes that go on."""
        out: list[bytes] = []
        data, self._held = self._held + piece, b""
        while data:
            size = self._frame_size(data)
            if size is not None:
                if len(data) < 4 + size:
                    self._held = data
                    break
                frame = change(data[4 : 4 + size])
                out += [len(frame).to_bytes(4, "big"), frame]
                data = data[4 + size :]
            elif self._passing:
                out.append(data[: self._passing])
                data, self._passing = data[self._passing :], max(self._passing - len(data), 0)
            else:
                self._held = data
                break
        return b"".join(out)

    def _frame_size(self, data: bytes) -> int | None:
        """Return the size of a frame to be changed; None: it passes, or its head is incomplete."""
        if self._passing or len(data) < 4 + self._head:
            return None
        size = int.from_bytes(data[:4], "big", signed=True)
        if size >= self._head and self._is_changed(data[4 : 4 + self._head]):
            return size
        self._passing = 4 + max(size, 0)
        return None
