"""The ports that documentation names, led to the brokers of the tests.

Snippets say ``localhost:9092`` and ``http://localhost:8081`` and run as they are written.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import socketserver
import threading
import urllib.parse
from http import HTTPMethod
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from types import TracebackType

BUFFER = 64 * 1024
ANSWER_TIMEOUT = 30.0
NOT_PASSED_ON = {"connection", "content-length", "date", "host", "server", "transfer-encoding"}


class PortTakenError(Exception):
    """Somebody else listens on a port that the documentation names."""


class _Server(socketserver.ThreadingTCPServer):
    """Serves 127.0.0.1 in a thread while its context is open; counts who came.

    Clients that try ::1 first are refused there and come here.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
        self.served = 0
        try:
            super().__init__(("127.0.0.1", port), handler)
        except OSError as error:
            raise PortTakenError(f"port {port} of 127.0.0.1: {error.strerror}") from error

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.shutdown()
        self.server_close()


class TcpForwarder(_Server):
    """Copies bytes both ways.

    Good for bootstrapping: a Kafka client then goes to the addresses that the brokers advertise.

    Args:
        port: Where it listens.
        target: "host:port" of what it leads to.
    """

    def __init__(self, port: int, target: str) -> None:
        host, _, number = target.rpartition(":")
        self.target = (host, int(number))
        super().__init__(port, _Tunnel)


class _Tunnel(socketserver.BaseRequestHandler):
    server: TcpForwarder

    def handle(self) -> None:
        self.server.served += 1
        with socket.create_connection(self.server.target, timeout=ANSWER_TIMEOUT) as there:
            there.settimeout(None)
            back = threading.Thread(target=_copy, args=(there, self.request), daemon=True)
            back.start()
            _copy(self.request, there)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until either side ends; then the other one learns of it too."""
    with contextlib.suppress(OSError):
        while data := source.recv(BUFFER):
            target.sendall(data)
    for side in (source, target):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


class RegistryProxy(_Server):
    """Leads requests to a registry whose API does not begin at the root of its URL.

    Args:
        port: Where it listens.
        base: The registry's base URL, path included.
    """

    def __init__(self, port: int, base: str) -> None:
        self.base = urllib.parse.urlsplit(base)
        super().__init__(port, _Request)


class _Request(http.server.BaseHTTPRequestHandler):
    server: RegistryProxy
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = ANSWER_TIMEOUT

    def __getattr__(self, name: str) -> object:
        if name in {f"do_{method.value}" for method in HTTPMethod}:
            return self.pass_on
        raise AttributeError(name)

    def pass_on(self) -> None:
        self.server.served += 1
        base = self.server.base
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        registry = http.client.HTTPConnection(base.hostname, base.port, timeout=ANSWER_TIMEOUT)
        with contextlib.closing(registry):
            registry.request(self.command, base.path + self.path, body, _kept(self.headers))
            answer = registry.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in _kept(answer.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: a test that fails says what it saw."""


def _kept(headers: http.client.HTTPMessage) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}
