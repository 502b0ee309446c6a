"""TLS in front of a server that speaks none."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

CONNECT_TIMEOUT = 10.0


class TlsFront(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1 while its context is open, and passes on what it hears.

    Args:
        target: Host and port of what is behind it.
        context: Its certificate; changes count for the next connection.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext) -> None:
        self.target = target
        self.context = context
        super().__init__(("127.0.0.1", 0), _Tunnel)

    @property
    def address(self) -> str:
        """host:port of where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Nothing: a handshake that fails is what a test is about."""


class _Tunnel(socketserver.BaseRequestHandler):
    server: TlsFront

    def handle(self) -> None:
        # In the connection's own thread, so that a slow handshake keeps nobody waiting.
        options = {"server_side": True, "do_handshake_on_connect": False}
        with self.server.context.wrap_socket(self.request, **options) as here:
            here.do_handshake()
            with socket.create_connection(self.server.target, CONNECT_TIMEOUT) as there:
                there.settimeout(None)
                back = threading.Thread(target=_copy, args=(there, here), daemon=True)
                back.start()
                _copy(here, there)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for side in (source, target):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
