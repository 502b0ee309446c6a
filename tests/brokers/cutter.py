"""Connections to a broker that break when the test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

from brokers.forwarder import TcpForwarder
from brokers.jvm import free_port
from brokers.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Cutter(TcpForwarder):
    """A forwarder that can end all its connections at once."""

    def __init__(self, port: int, target: str) -> None:
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(port, target)

    def process_request(self, request: socket.socket, address: object) -> None:
        """Remember the connection."""
        with self._lock:
            self._live.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request: socket.socket) -> None:
        """Forget it."""
        with self._lock:
            self._live.discard(request)
        super().shutdown_request(request)

    def cut(self) -> int:
        """End every connection; returns how many there were."""
        with self._lock:
            live = list(self._live)
        for connection in live:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return len(live)


class CuttableKafka(KafkaServer):
    """A Kafka whose clients all come through a cutter, as that is the address it advertises."""

    def __init__(self, config: Mapping[str, str] | None = None) -> None:
        self.public_port = free_port()
        address = f"PLAINTEXT://127.0.0.1:{self.public_port}"
        super().__init__({"advertised.listeners": address, **(config or {})})
        self.cutter = Cutter(self.public_port, f"127.0.0.1:{self.port}")

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.public_port}"

    def __enter__(self) -> Self:
        self.cutter.__enter__()
        return super().__enter__()

    def close(self) -> None:
        super().close()
        self.cutter.__exit__()

    @contextlib.contextmanager
    def cutting(self, interval: float) -> Iterator[None]:
        """Cut again and again, with so many seconds in between."""
        done = threading.Event()

        def work() -> None:
            while not done.wait(interval):
                self.cutter.cut()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
