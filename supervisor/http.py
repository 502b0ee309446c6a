"""The read-only HTTP side: /metrics, /healthz, /readyz and /status."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

CONNECTION_LIFETIME = 30.0
"""Seconds after which a connection is closed, whatever it does: a client that sends its
request byte by byte holds no socket for longer."""
MAX_CONNECTIONS = 64
"""Connections at a time; further ones are closed at once."""
_MAX_LINE = 4096

log = logging.getLogger("supervisor")
# aiohttp would log a traceback for each request that it cannot parse: anybody's to cause.
_QUIET = logging.getLogger("supervisor.http")
_QUIET.addFilter(lambda record: record.levelno > logging.ERROR)


@dataclass(frozen=True, slots=True)
class Views:
    """Where the answers come from.

    Attributes:
        metrics: The exposition and its content type, for an Accept header.
        healthy: Whether the main loop turns.
        unready: Why not every wanted worker is assigned; nothing if each is.
        status: The object that /status shows.
    """

    metrics: Callable[[str], tuple[bytes, str]]
    healthy: Callable[[], bool]
    unready: Callable[[], list[str]]
    status: Callable[[], dict[str, Any]]


class HttpServer:
    """Serves the views on one address.

    Args:
        views: The answers.
        host: Address or name to bind.
        port: Port to bind; 0 for a free one.
    """

    def __init__(self, views: Views, host: str, port: int) -> None:
        self.address: tuple[str, int] | None = None
        """Host and port that it listens on, while it does."""
        self._views = views
        self._host = host
        self._port = port
        self._web: _Bounded | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind and listen.

        Raises:
            OSError: The address is in use, not this machine's, or not allowed.
        """
        self._web = _Bounded(
            self._answer,
            loop=loop,
            access_log=None,
            logger=_QUIET,
            keepalive_timeout=CONNECTION_LIFETIME,
            lingering_time=1.0,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )
        self._listening = await loop.create_server(self._web, self._host, self._port)
        self.address = self._listening.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Stop listening and close what is open."""
        if self._listening is not None:
            self._listening.close()
        if self._web is not None:
            await self._web.shutdown(timeout=1.0)
        self.address = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return self._page(request)
        except Exception:
            log.exception("a page could not be made", extra={"path": request.path})
            return web.Response(status=500, text="an error; see the supervisor's log\n")

    def _page(self, request: web.BaseRequest) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD", "Connection": "close"})
        match request.path:
            case "/metrics":
                body, content_type = self._views.metrics(request.headers.get("Accept", ""))
                return web.Response(body=body, headers={"Content-Type": content_type})
            case "/healthz":
                healthy = self._views.healthy()
                return _text("ok" if healthy else "the main loop does not turn", ok=healthy)
            case "/readyz":
                reasons = self._views.unready()
                return _text("\n".join(reasons) or "ok", ok=not reasons)
            case "/status":
                text = json.dumps(self._views.status(), ensure_ascii=False, indent=2)
                return web.Response(text=text + "\n", content_type="application/json")
            case _:
                text = "not found; there are /metrics /healthz /readyz /status\n"
                return web.Response(status=404, text=text)


def _text(text: str, *, ok: bool) -> web.Response:
    return web.Response(status=200 if ok else 503, text=text + "\n")


class _Bounded(web.Server):
    """aiohttp's server with a limit on how many connections there are, and for how long."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ends: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        lifetime = CONNECTION_LIFETIME if len(self.connections) <= MAX_CONNECTIONS else 0
        self._ends[handler] = self._loop.call_later(lifetime, handler.force_close)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        if end := self._ends.pop(handler, None):
            end.cancel()
