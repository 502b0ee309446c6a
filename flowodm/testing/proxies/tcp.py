"""A TCP proxy whose connections fail on demand of a test.

It works with any protocol over TCP, as it does not read the bytes. A Kafka client asks its
bootstrap servers for the addresses of the brokers, and connects to those: use
:class:`flowodm.testing.KafkaProxy`, or let the broker advertise the proxy's address. For a schema
registry, :class:`flowodm.testing.RegistryProxy` can also answer in its place.
"""

from __future__ import annotations

import asyncio
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flowodm.testing.proxies.listening import HOST, Listener
from flowodm.testing.proxies.tunnel import Line, Tunnel

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from flowodm.testing.proxies.tunnel import Address

T = TypeVar("T")

_COMMAND_TIMEOUT = 10.0
"""Seconds in which the proxy's thread has to carry out a call; it never waits for the network."""


class Way(Enum):
    """A direction through the proxy."""

    REQUESTS = "requests"
    ANSWERS = "answers"


class Fault:
    """A fault that lasts until :meth:`end` or the end of the ``with`` block.

    Several faults add up.
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
        """End the fault; a second call does nothing."""
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
    """Passes bytes between its clients and its target.

    ::

        with FaultProxy("127.0.0.1:8081") as proxy:
            connect(schema_registry_url=f"http://{proxy.address}")
            with proxy.black_hole():
                ...  # no byte arrives any more

    It listens on 127.0.0.1 and works in a thread of its own. Every method may be called from any
    thread, and returns when it has taken effect.

    Args:
        target: The target's "host:port". While nothing listens there, connections are reset.
        port: The port to listen on; 0: any free port.

    Attributes:
        accepted: The number of connections so far.
    """

    def __init__(self, target: str, *, port: int = 0) -> None:
        self.accepted = 0
        self._targets = [address_of(target)]
        self._port = port
        self._listeners: dict[Address, Listener] = {}
        self._line = Line()
        self._tunnels: dict[Tunnel, asyncio.Task[None]] = {}
        self._faults: list[Fault] = []
        self._cutters: dict[Fault, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        first = self._listeners.get(self._targets[0])
        return self._port if first is None else first.port

    @property
    def address(self) -> str:
        """The address it listens on, as "127.0.0.1:port"."""
        return f"{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._tunnels)

    # ---- faults --------------------------------------------------------------------------

    def cut(self) -> int:
        """Close every connection, as a server that stops; accept new ones.

        Bytes in flight are lost.

        Returns:
            The number of connections that were closed.
        """
        return self._do(self._end_all(reset=False))

    def reset(self) -> int:
        """Reset every connection (RST), as a server that crashes; accept new ones.

        Returns:
            The number of connections that were reset.
        """
        return self._do(self._end_all(reset=True))

    def latency(self, seconds: float) -> Fault:
        """Delay every byte, in both directions; the throughput stays the same.

        Args:
            seconds: The delay in one direction; an answer comes after twice that time.
        """
        return self._add(Fault(self, latency=seconds))

    def black_hole(self, ways: Way | None = None) -> Fault:
        """Pass no byte, as a network that drops every packet.

        Connections do not fail: they hang, new ones too. Bytes that were sent meanwhile arrive
        when the fault ends.

        Args:
            ways: Only this direction. ``Way.ANSWERS`` is the fault behind most duplicates: the
                server carries out the request, and the client does not get the answer.
        """
        return self._add(Fault(self, holes=frozenset(Way if ways is None else {ways})))

    def refuse(self) -> Fault:
        """Reset every connection and refuse new ones, as a machine without the server."""
        return self._add(Fault(self, refuses=True))

    def cut_every(self, seconds: float) -> Fault:
        """Close every connection again and again; see :meth:`cut`.

        Args:
            seconds: The time between two cuts. Below 0.5 a new idempotent producer of librdkafka
                may never get its producer id: it asks twice a second, each time on the
                connection of the request before.
        """
        if seconds <= 0:
            raise ValueError(f"seconds must be greater than 0, got {seconds}")
        return self._add(Fault(self, cuts_every=seconds))

    def heal(self) -> None:
        """End every fault."""
        for fault in list(self._faults):
            fault.end()

    # ---- start and end -------------------------------------------------------------------

    def start(self) -> Self:
        """Listen.

        Raises:
            OSError: The port is in use.
        """
        self._listener(self._targets[0], self._port)
        for target in self._targets[1:]:
            self._listener(target)
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=loop.run_forever, name=f"flowodm-proxy-{self.port}", daemon=True
        )
        self._thread.start()
        self._do(self._apply())
        return self

    def close(self) -> None:
        """Close every connection and stop listening; a second call does nothing."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._shut(), loop).result(_COMMAND_TIMEOUT)
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

    # ---- on the proxy's thread -----------------------------------------------------------

    def _do(self, act: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            act.close()
            raise RuntimeError("the proxy is not running: use it in a with block, or call start()")
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(_COMMAND_TIMEOUT)

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
        """Put all current faults into effect."""
        faults, line = self._faults, self._line
        line.latency = sum(fault.latency for fault in faults)
        for way, gate in ((Way.REQUESTS, line.requests), (Way.ANSWERS, line.answers)):
            if any(way in fault.holes for fault in faults):
                gate.clear()
            else:
                gate.set()
        self._apply_cuts()
        if any(fault.refuses for fault in faults):
            for listener in self._listeners.values():
                listener.refuse()
            await self._end_all(reset=True)
        else:
            for listener in self._listeners.values():
                await listener.listen()

    def _apply_cuts(self) -> None:
        for fault in [fault for fault in self._cutters if fault not in self._faults]:
            self._cutters.pop(fault).cancel()
        for fault in self._faults:
            if fault.cuts_every and fault not in self._cutters:
                self._cutters[fault] = asyncio.ensure_future(self._cut_repeatedly(fault.cuts_every))

    def _listener(self, target: Address, port: int = 0) -> Listener:
        """Return the listener for a target; the first call binds its port."""
        if target not in self._listeners:
            listener = Listener(port, lambda reader, writer: self._serve(target, reader, writer))
            listener.bind()
            self._listeners[target] = listener
        return self._listeners[target]

    def _serve(
        self, target: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        tunnel = self._tunnel(target, reader, writer)
        task = self._tunnels[tunnel] = asyncio.ensure_future(tunnel.run())

        def over(_: object) -> None:
            del self._tunnels[tunnel]
            tunnel.close()

        task.add_done_callback(over)

    def _tunnel(
        self, target: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Tunnel:
        return Tunnel(self._line, target, reader, writer=writer)

    async def _end_all(self, *, reset: bool) -> int:
        live = dict(self._tunnels)
        for tunnel, task in live.items():
            tunnel.ends_with_reset = reset
            task.cancel()
        await asyncio.gather(*live.values(), return_exceptions=True)
        return len(live)

    async def _cut_repeatedly(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._end_all(reset=False)

    async def _shut(self) -> None:
        self._faults.clear()
        self._apply_cuts()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        await self._end_all(reset=False)
        await asyncio.sleep(0)  # for the transports to close their sockets


def address_of(target: str) -> Address:
    """Return host and port.

    Raises:
        ValueError: The target is not 'host:port'.
    """
    host, _, number = target.rpartition(":")
    if not host or not number.isdecimal():
        raise ValueError(f"the target must be 'host:port', got {target!r}")
    return host.strip("[]"), int(number)
