"""A TCP proxy whose connections fail when a test says so.

It stands in front of anything that speaks TCP and understands nothing of it. A Kafka client only
asks its bootstrap servers for the addresses of the brokers, and then goes there by itself: use
:class:`flowodm.testing.KafkaProxy`, or have the broker advertise the proxy's address. For a schema
registry there is :class:`flowodm.testing.RegistryProxy`, which can answer in its place.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flowodm.testing.tunnel import Line, Tunnel

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

T = TypeVar("T")

HOST = "127.0.0.1"
#: Seconds for the proxy's own thread to do what it is told; it never waits for the network then.
_OWN_TIMEOUT = 10.0


class Way(Enum):
    """A direction through the proxy."""

    REQUESTS = "requests"
    ANSWERS = "answers"


class Fault:
    """Something that is wrong now, until :meth:`end` or the end of the ``with`` block.

    Several at a time add up.
    """

    def __init__(
        self,
        proxy: FaultProxy,
        *,
        latency: float = 0.0,
        holes: frozenset[Way] = frozenset(),
        refuses: bool = False,
        cuts_every: float = 0.0,
    ) -> None:
        self._proxy = proxy
        self.latency = latency
        self.holes = holes
        self.refuses = refuses
        self.cuts_every = cuts_every

    def end(self) -> None:
        """Everything is as before; a second time nothing happens."""
        self._proxy._remove(self)  # noqa: SLF001 - a fault is a part of its proxy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


class FaultProxy:
    """Passes bytes on, both ways, between whoever connects to it and its target.

    ::

        with FaultProxy("127.0.0.1:8081") as proxy:
            connect(schema_registry_url=f"http://{proxy.address}")
            with proxy.black_hole():
                ...  # nothing arrives any more

    It listens on 127.0.0.1 and works in a thread of its own; every method may be called from any
    thread and returns when what it says is so.

    Args:
        target: "host:port" of what it leads to. It need not be there yet: a connection that finds
            nobody there is reset.
        port: Where to listen; 0: on any free port.
    """

    def __init__(self, target: str, *, port: int = 0) -> None:
        host, _, number = target.rpartition(":")
        if not host or not number.isdecimal():
            raise ValueError(f"the target must be 'host:port', not {target!r}")
        self.target = target
        self.port = port
        #: How many connections have come so far.
        self.accepted = 0
        self._line = Line(host.strip("[]"), int(number))
        self._tunnels: dict[Tunnel, asyncio.Task[None]] = {}
        self._faults: list[Fault] = []
        self._cutters: dict[Fault, asyncio.Task[None]] = {}
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where it listens, as "127.0.0.1:port"."""
        return f"{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._tunnels)

    # ---- what may go wrong ---------------------------------------------------------------

    def cut(self) -> int:
        """End every connection in good order, as a server does that stops.

        What is under way is lost. New connections are welcome.

        Returns:
            How many there were.
        """
        return self._do(self._end_all(reset=False))

    def reset(self) -> int:
        """End every connection with a reset (RST), as a server does that crashes.

        Returns:
            How many there were.
        """
        return self._do(self._end_all(reset=True))

    def latency(self, seconds: float) -> Fault:
        """Let every byte arrive so much later, in either direction.

        An answer comes after twice that; how many bytes a second there are does not change.
        """
        return self._add(Fault(self, latency=seconds))

    def black_hole(self, ways: Way | None = None) -> Fault:
        """Let nothing through, as a network that drops every packet: no error, only silence.

        New connections are made and hang. What was sent meanwhile arrives when the fault ends.

        Args:
            ways: Only this direction. ``Way.ANSWERS`` is the fault behind most duplicates: the
                request is done, and the client does not learn of it.
        """
        return self._add(Fault(self, holes=frozenset(Way if ways is None else {ways})))

    def refuse(self) -> Fault:
        """Be gone: reset every connection and refuse new ones, as a machine without the server."""
        return self._add(Fault(self, refuses=True))

    def cut_every(self, seconds: float) -> Fault:
        """:meth:`cut` again and again, with so many seconds in between."""
        if seconds <= 0:
            raise ValueError(f"seconds must be more than 0, not {seconds}")
        return self._add(Fault(self, cuts_every=seconds))

    def heal(self) -> None:
        """End every fault."""
        for fault in list(self._faults):
            fault.end()

    # ---- its life ----------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to listen.

        Raises:
            OSError: The port is in use.
        """
        self._socket = self._bound()
        self.port = self._socket.getsockname()[1]
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=loop.run_forever, name=f"flowodm-proxy-{self.port}", daemon=True
        )
        self._thread.start()
        self._do(self._apply())
        return self

    def close(self) -> None:
        """End every connection and stop listening; a second time nothing happens."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._shut(), loop).result(_OWN_TIMEOUT)
        self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    # ---- on its thread -----------------------------------------------------------------

    def _do(self, act: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            act.close()
            raise RuntimeError("the proxy is not running: use it in a with block, or start() it")
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(_OWN_TIMEOUT)

    def _add(self, fault: Fault) -> Fault:
        async def add() -> None:
            self._faults.append(fault)
            await self._apply()

        self._do(add())
        return fault

    def _remove(self, fault: Fault) -> None:
        async def remove() -> None:
            if fault in self._faults:
                self._faults.remove(fault)
                await self._apply()

        if self._loop is not None:
            self._do(remove())

    async def _apply(self) -> None:
        """Make it true what the faults say together."""
        faults, line = self._faults, self._line
        line.latency = sum(fault.latency for fault in faults)
        for way, gate in ((Way.REQUESTS, line.requests), (Way.ANSWERS, line.answers)):
            if any(way in fault.holes for fault in faults):
                gate.clear()
            else:
                gate.set()
        self._apply_cuts()
        if any(fault.refuses for fault in faults):
            self._stop_listening()
            await self._end_all(reset=True)
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._socket)

    def _apply_cuts(self) -> None:
        for fault in [fault for fault in self._cutters if fault not in self._faults]:
            self._cutters.pop(fault).cancel()
        for fault in self._faults:
            if fault.cuts_every and fault not in self._cutters:
                self._cutters[fault] = asyncio.ensure_future(self._go_on_cutting(fault.cuts_every))

    def _stop_listening(self) -> None:
        """A socket that is bound and does not listen refuses, and keeps the port."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket = self._bound()

    def _bound(self) -> socket.socket:
        new = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            new.bind((HOST, self.port))
        except OSError as error:
            new.close()
            raise OSError(error.errno, f"port {self.port} of {HOST}: {error.strerror}") from error
        return new

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        tunnel = self._tunnel(reader, writer)
        task = self._tunnels[tunnel] = asyncio.ensure_future(tunnel.run())

        def over(_: object) -> None:
            del self._tunnels[tunnel]
            tunnel.close()

        task.add_done_callback(over)

    def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Tunnel:
        return Tunnel(self._line, reader, writer)

    async def _end_all(self, *, reset: bool) -> int:
        live = dict(self._tunnels)
        for tunnel, task in live.items():
            tunnel.ends_with_reset = reset
            task.cancel()
        await asyncio.gather(*live.values(), return_exceptions=True)
        return len(live)

    async def _go_on_cutting(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._end_all(reset=False)

    async def _shut(self) -> None:
        self._faults.clear()
        self._apply_cuts()
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()
        self._server = None
        await self._end_all(reset=False)
        await asyncio.sleep(0)  # for the transports to close their sockets
