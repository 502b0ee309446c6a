"""A port of 127.0.0.1 that can refuse connections."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

HOST = "127.0.0.1"


class Listener:
    """Holds a port from :meth:`bind` to :meth:`close`.

    Args:
        port: The port; 0: any free port.
        serve: Called with each connection.

    Attributes:
        port: The port that is bound; before that, the argument.
    """

    def __init__(self, port: int, serve: Serve) -> None:
        self.port = port
        self._serve = serve
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None

    def bind(self) -> None:
        """Bind the port; connections are refused until :meth:`listen`.

        Raises:
            OSError: The port is in use.
        """
        new = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            new.bind((HOST, self.port))
        except OSError as error:
            new.close()
            raise OSError(error.errno, f"port {self.port} of {HOST}: {error.strerror}") from error
        self.port = new.getsockname()[1]
        self._socket = new

    async def listen(self) -> None:
        """Accept connections; a second call does nothing."""
        if self._server is None and self._socket is not None:
            bound, self._socket = self._socket, None
            self._server = await asyncio.start_server(self._serve, sock=bound)

    def listen_at_once(self) -> None:
        """Let connections queue up until :meth:`listen` serves them."""
        if self._socket is not None:
            self._socket.listen()

    def refuse(self) -> None:
        """Refuse connections, but keep the port: a bound socket that does not listen does both."""
        if self._server is not None:
            self.close()
            self.bind()

    def close(self) -> None:
        """Release the port."""
        if self._server is not None:
            self._server.close()
        if self._socket is not None:
            self._socket.close()
        self._server = self._socket = None
