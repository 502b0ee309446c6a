"""One connection through a fault proxy, and the faults of the line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Address: TypeAlias = tuple[str, int]
"""Host and port."""

_PIECE_SIZE = 64 * 1024
"""Bytes of one read."""
_MAX_PIECES = 64
"""Pieces in flight in one direction; the sender waits when there are as many."""
_CONNECT_TIMEOUT = 10.0
"""Seconds in which the target has to accept a connection."""
_NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0, so that closing the socket sends a reset."""


class Line:
    """The faults that all connections of a proxy share.

    Attributes:
        latency: Seconds by which every byte is delayed.
        requests: Set while bytes pass to the target.
        answers: Set while bytes pass to the client.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.requests = asyncio.Event()
        self.answers = asyncio.Event()


class Tunnel:
    """Passes bytes between a client's connection and one to the target.

    Args:
        line: The faults.
        target: The target's address.
        reader: Reads from the client.
        writer: Writes to the client.

    Attributes:
        ends_with_reset: Whether closing sends a reset to both sides.
        ends_at_once: Whether closing drops the bytes in flight.
    """

    def __init__(
        self,
        line: Line,
        target: Address,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._line = line
        self._target = target
        self._reader = reader
        self._writer = writer
        self._target_writer: asyncio.StreamWriter | None = None
        self.ends_with_reset = False
        self.ends_at_once = True

    async def run(self) -> None:
        """Pass bytes until both sides have ended, one breaks, or the task is cancelled."""
        line = self._line
        try:
            await line.requests.wait()
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(*self._target)
            self._target_writer = writer
            requests = _pump(line, self._reader, writer, gate=line.requests, change=self.request)
            answers = _pump(line, reader, self._writer, gate=line.answers, change=self.answer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(requests)
                pumps.create_task(answers)
            self.ends_at_once = False
        except* OSError:  # including TimeoutError
            self.ends_with_reset = True  # pass the broken side's reset on

    def close(self) -> None:
        """Close both connections."""
        for writer in (self._writer, self._target_writer):
            if writer is not None:
                self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        if not self.ends_at_once:
            writer.close()
            return
        connection: socket.socket | None = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # closed already
            if connection is not None and self.ends_with_reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            elif connection is not None:
                connection.shutdown(socket.SHUT_RDWR)
        writer.transport.abort()

    def request(self, data: bytes) -> bytes:
        """Change bytes on their way to the target; here they stay as they are."""
        return data

    def answer(self, data: bytes) -> bytes:
        """Change bytes on their way to the client; here they stay as they are."""
        return data


async def _pump(
    line: Line,
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    *,
    gate: asyncio.Event,
    change: Callable[[bytes], bytes],
) -> None:
    """Pass bytes on, each when it is due, and then the end of the stream."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAX_PIECES)

    async def receive() -> None:
        data = b"-"
        while data:
            data = await source.read(_PIECE_SIZE)
            await pieces.put((clock() + line.latency, data))

    async def send() -> None:
        while True:
            due, data = await pieces.get()
            if (wait := due - clock()) > 0:
                await asyncio.sleep(wait)
            await gate.wait()
            if not data:
                break
            target.write(change(data))
            await target.drain()
        with contextlib.suppress(OSError):
            target.write_eof()

    async with asyncio.TaskGroup() as both:
        both.create_task(receive())
        both.create_task(send())
