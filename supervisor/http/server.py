"""The read-only HTTP server: /metrics, /healthz, /readyz, /status, /history and the page at /."""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from supervisor.http import hosts
from supervisor.http.page import page

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

CONNECTION_LIFETIME = 30.0
"""Seconds after which a connection is closed, whatever it does, so that a client that sends its
request byte by byte does not hold a socket for longer."""
MAX_CONNECTIONS = 64
"""Connections at the same time; further ones are closed at once."""
_MAX_LINE = 4096
"""Bytes of a request line and of a header at most; aiohttp takes 128 headers."""
_HEADERS = {
    "Server": "flowodm-supervisor",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer. A page may have a policy of its own."""

_log = logging.getLogger("supervisor")
# aiohttp logs a traceback for each request that it cannot parse, which any client can cause.
_QUIET = logging.getLogger("supervisor.http")
_QUIET.addFilter(lambda record: record.levelno > logging.ERROR)


@dataclass(frozen=True, slots=True)
class Views:
    """The functions that make the answers.

    Attributes:
        metrics: Returns the exposition and its content type, for an Accept header.
        healthy: Returns whether the main loop turns.
        unready: Returns why not every worker is assigned; nothing if each is.
        status: Returns the object that /status shows.
        history: Returns the object that /history shows.
    """

    metrics: Callable[[str], tuple[bytes, str]]
    healthy: Callable[[], bool]
    unready: Callable[[], list[str]]
    status: Callable[[], dict[str, Any]]
    history: Callable[[], dict[str, Any]]


class HttpServer:
    """Serves the views on one address, to requests with an accepted Host header.

    Accepted are IP addresses, names without a dot, localhost, `host`, the machine's own name, and
    `names`: see `hosts.py` for why. So a server on 0.0.0.0 or [::] can be scraped by address and
    by a service's name; a full name, such as "shop.default.svc.cluster.local", has to be among
    `names`.

    Args:
        views: The functions that make the answers.
        host: Address or name to bind.
        port: Port to bind; 0 for a free one.
        names: Further names; ".example.org" stands for all below it, "*" for every name.
    """

    def __init__(self, views: Views, host: str, port: int, names: Iterable[str] = ()) -> None:
        self.address: tuple[str, int] | None = None
        """Host and port while it listens; else None."""
        self._views = views
        self._host = host
        self._port = port
        every_name = (host, socket.gethostname(), *names)
        self._names = frozenset(name.lower().removesuffix(".") for name in every_name)
        self._paths = {
            "/": self._page,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/status": self._status,
            "/history": self._history,
        }
        self._web: Bounded | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind and listen.

        Raises:
            OSError: The address is in use, is not this machine's, or is not allowed.
        """
        self._web = Bounded(
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
        """Stop listening, and close all connections."""
        if self._listening is not None:
            self._listening.close()
        if self._web is not None:
            await self._web.shutdown(timeout=1.0)
        self.address = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            answer = self._refusal(request) or self._view(request)
        except Exception:  # noqa: BLE001 - it is logged and answered
            _log.exception("an HTTP request failed", extra={"path": request.path})
            answer = web.Response(status=500, text="internal error; see the supervisor's log\n")
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to a request that is refused; None if it is not."""
        # Only an HTTP/1.0 request, which no browser sends, gets here without a Host.
        names = request.headers.getall("Host", [])
        if len(names) > 1 or not all(hosts.answers(name, self._names) for name in names):
            text = "the Host header is not a name of this supervisor; use its address\n"
            return web.Response(status=403, text=text)
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD", "Connection": "close"})
        return None

    def _view(self, request: web.BaseRequest) -> web.Response:
        if (view := self._paths.get(request.path)) is not None:
            return view(request)
        return web.Response(status=404, text=f"not found; the paths are {' '.join(self._paths)}\n")

    def _page(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(
            body=page().body,
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": page().policy},
        )

    def _metrics(self, request: web.BaseRequest) -> web.Response:
        body, content_type = self._views.metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _healthz(self, _request: web.BaseRequest) -> web.Response:
        healthy = self._views.healthy()
        return _text("ok" if healthy else "the main loop does not turn", ok=healthy)

    def _readyz(self, _request: web.BaseRequest) -> web.Response:
        reasons = self._views.unready()
        return _text("\n".join(reasons) or "ok", ok=not reasons)

    def _status(self, _request: web.BaseRequest) -> web.Response:
        text = json.dumps(self._views.status(), ensure_ascii=False, indent=2)
        return web.Response(text=text + "\n", content_type="application/json")

    def _history(self, _request: web.BaseRequest) -> web.Response:
        text = json.dumps(self._views.history(), separators=(",", ":"))
        return web.Response(text=text + "\n", content_type="application/json")


def _text(text: str, *, ok: bool) -> web.Response:
    return web.Response(status=200 if ok else 503, text=text + "\n")


class Bounded(web.Server):
    """aiohttp's server, with limits on the number of connections and on their duration."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ends: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Start the time limit of a connection."""
        super().connection_made(handler, transport)
        lifetime = CONNECTION_LIFETIME if len(self.connections) <= MAX_CONNECTIONS else 0
        self._ends[handler] = self._loop.call_later(lifetime, handler.force_close)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Cancel the time limit of a connection."""
        super().connection_lost(handler, exc)
        if end := self._ends.pop(handler, None):
            end.cancel()
