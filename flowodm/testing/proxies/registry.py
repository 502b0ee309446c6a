"""A fault proxy for a schema registry, which can also give wrong answers."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import threading
import urllib.parse
from dataclasses import dataclass
from http import HTTPMethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from flowodm.testing.proxies.listening import HOST
from flowodm.testing.proxies.tcp import FaultProxy

if TYPE_CHECKING:
    import email.message
    from types import TracebackType

_ANSWER_TIMEOUT = 30.0
"""Seconds in which the registry behind the proxy has to answer."""
_NOT_PASSED_ON = {"connection", "content-length", "date", "host", "server", "transfer-encoding"}
"""Headers that each of the two connections has for itself."""
_TYPE = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True, slots=True)
class RegistryRequest:
    """One request to a :class:`RegistryProxy`.

    Attributes:
        method: "GET", "POST" and so on.
        path: The path with the query, without the registry's base path.
    """

    method: str
    path: str


class WrongAnswer:
    """An answer in place of the registry's, until :meth:`end`, or for a number of requests."""

    def __init__(
        self,
        lock: threading.Lock,
        status: int,
        body: bytes,
        *,
        headers: dict[str, str],
        times: float,
        method: str,
        path: str,
    ) -> None:
        self._lock = lock
        self.status = status
        self.body = body
        self.headers = headers
        self._remaining = times
        self._method = method
        self._path = path

    def takes(self, request: RegistryRequest) -> bool:
        """Tell whether this answers a request, and count it. The caller holds the lock."""
        matches = self._path in request.path and self._method in {"", request.method}
        if not matches or not self._remaining:
            return False
        self._remaining -= 1
        return True

    def end(self) -> None:
        """Let the registry answer again; a second call does nothing."""
        with self._lock:
            self._remaining = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


class RegistryProxy(FaultProxy):
    """A :class:`FaultProxy` in front of a schema registry, which can also answer in its place.

    ::

        with RegistryProxy(registry_url) as registry:
            connect(schema_registry_url=registry.url)
            registry.answer(503, times=2)
            ...
            assert registry.requests[0].path == "/schemas/ids/7"

    The proxy puts the registry's base path in front of each path: a registry whose API begins at
    /apis/ccompat/v7 is at the root here.

    Args:
        url: The registry's base URL (http).
        port: The port to listen on; 0: any free port.

    Attributes:
        requests: All requests so far, including those that the proxy answered.
    """

    def __init__(self, url: str, *, port: int = 0) -> None:
        self.base = urllib.parse.urlsplit(url)
        if self.base.scheme != "http" or not self.base.hostname:
            raise ValueError(f"the registry's URL must be http://host..., got {url!r}")
        self.requests: list[RegistryRequest] = []
        self._lock = threading.Lock()
        self._wrong: list[WrongAnswer] = []
        self._http: _Server | None = None
        super().__init__(self.base.netloc.rpartition("@")[2], port=port)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://{self.address}"

    def answer(
        self,
        status: int,
        body: object = None,
        *,
        times: int | None = None,
        path: str = "",
        method: str = "",
        headers: dict[str, str] | None = None,
    ) -> WrongAnswer:
        """Answer requests in place of the registry; of several matching answers the newest counts.

        Args:
            status: The HTTP status.
            body: The body, sent as JSON; bytes are sent as they are. By default an error in the
                registry's form.
            times: The number of answers after which the registry answers again; None: no limit,
                until ``end()``.
            path: Only answer requests whose path contains this text.
            method: Only answer requests with this method.
            headers: Further headers, such as {"Retry-After": "1"}.
        """
        if body is None:
            body = {"error_code": status, "message": f"{status} by the fault proxy"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        wrong = WrongAnswer(
            self._lock,
            status,
            data,
            headers=headers or {},
            times=float("inf") if times is None else times,
            method=method,
            path=path,
        )
        with self._lock:
            self._wrong.append(wrong)
        return wrong

    def heal(self) -> None:
        """End all faults and all wrong answers."""
        with self._lock:
            self._wrong.clear()
        super().heal()

    def wrong_answer(self, request: RegistryRequest) -> WrongAnswer | None:
        """Record a request; return the answer to it, or None if the registry is to answer."""
        with self._lock:
            self.requests.append(request)
            return next((wrong for wrong in reversed(self._wrong) if wrong.takes(request)), None)

    def start(self) -> Self:
        """Listen; see :meth:`FaultProxy.start`."""
        server = self._http = _Server((HOST, 0), _Request)
        server.proxy = self
        threading.Thread(
            target=server.serve_forever, args=(0.02,), name="flowodm-registry-proxy", daemon=True
        ).start()
        self._targets = [(HOST, server.server_port)]
        try:
            return super().start()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the proxy; see :meth:`FaultProxy.close`."""
        super().close()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    proxy: RegistryProxy


class _Request(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = _ANSWER_TIMEOUT

    def __getattr__(self, name: str) -> Any:
        if name in {f"do_{method.value}" for method in HTTPMethod}:
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wrong = self.server.proxy.wrong_answer(RegistryRequest(self.command, self.path))
        try:
            if wrong is not None:
                self._send(wrong.status, {"Content-Type": _TYPE, **wrong.headers}, wrong.body)
            else:
                self._pass_on(body)
        except ConnectionError:
            self.close_connection = True  # the client or the registry is gone

    def _pass_on(self, body: bytes) -> None:
        base = self.server.proxy.base
        registry = http.client.HTTPConnection(
            base.hostname or "", base.port, timeout=_ANSWER_TIMEOUT
        )
        with contextlib.closing(registry):
            path = base.path.rstrip("/") + self.path
            registry.request(self.command, path, body, _kept(self.headers))
            answer = registry.getresponse()
            self._send(answer.status, _kept(answer.headers), answer.read())

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: a failing test shows its requests itself."""


def _kept(headers: email.message.Message) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}
