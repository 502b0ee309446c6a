"""One connection through a fault proxy: two pumps, and what is wrong with the line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

#: Host and port.
Address: TypeAlias = tuple[str, int]

#: Bytes of one piece, and how many of them may be under way in one direction.
_PIECE, _UNDER_WAY = 64 * 1024, 64
#: Seconds for the target to accept a connection.
_CONNECT_TIMEOUT = 10.0
#: SO_LINGER on and of no time: closing sends a reset.
_NO_LINGER = struct.pack("ii", 1, 0)


class Line:
    """The state of all connections of a proxy.

    Attributes:
        latency: Seconds by which every byte is late.
        requests: Set while bytes pass to the target.
        answers: Set while bytes pass back.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.requests = asyncio.Event()
        self.answers = asyncio.Event()


class Tunnel:
    """Two connections that are one.

    Args:
        line: How well bytes get through.
        target: Where it leads.
        reader: From the client.
        writer: To the client.

    Attributes:
        ends_with_reset: How both ends learn of its end.
        ends_at_once: Whether what is under way is lost at its end.
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
        self._there: asyncio.StreamWriter | None = None
        self.ends_with_reset = False
        self.ends_at_once = True

    async def run(self) -> None:
        """Until both sides have ended, one breaks, or it is cancelled; :meth:`close` comes next."""
        line = self._line
        try:
            await line.requests.wait()
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                back, there = await asyncio.open_connection(*self._target)
            self._there = there
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(line, self._reader, there, line.requests, self.request))
                pumps.create_task(_pump(line, back, self._writer, line.answers, self.answer))
            self.ends_at_once = False
        except* OSError:  # TimeoutError is one
            self.ends_with_reset = True  # as the side that broke has done

    def close(self) -> None:
        """Let both sides know of the end; they need not have heard each other out."""
        for writer in (self._writer, self._there):
            if writer is not None:
                self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        if not self.ends_at_once:
            writer.close()
            return
        own: socket.socket | None = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it has ended by itself
            if own is not None and self.ends_with_reset:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            elif own is not None:
                own.shutdown(socket.SHUT_RDWR)
        writer.transport.abort()

    def request(self, data: bytes) -> bytes:
        """What becomes of bytes on their way to the target."""
        return data

    def answer(self, data: bytes) -> bytes:
        """What becomes of bytes on their way back."""
        return data


async def _pump(
    line: Line,
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    gate: asyncio.Event,
    change: Callable[[bytes], bytes],
) -> None:
    """Pass on what comes, when it is due, and the end last."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

    async def receive() -> None:
        data = b"-"
        while data:
            data = await source.read(_PIECE)
            await pieces.put((clock() + line.latency, data))

    async def send() -> None:
        while True:
            due, data = await pieces.get()
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
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
