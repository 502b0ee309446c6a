"""The client of the control socket: requests to a running supervisor."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 90.0
"""Seconds for an answer: a reload imports all code that the configuration names, in a child."""


class UnreachableError(Exception):
    """No supervisor answers at the control socket; the message names it."""


class RefusedError(Exception):
    """The supervisor refused the request; nothing was changed.

    Attributes:
        problems: Every problem of the configuration, if that is the reason.
    """

    def __init__(self, message: str, problems: list[str]) -> None:
        super().__init__(message)
        self.problems = problems


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    path: Path, method: str, target: str, *, timeout: float = TIMEOUT, **arguments: Any
) -> dict[str, Any]:
    """Send a request and return the answer.

    Args:
        path: The control socket.
        method: GET or POST.
        target: The request's path, such as "/reload".
        timeout: Seconds for an answer.
        arguments: The keys of the body's object; those that are None are left out.

    Raises:
        UnreachableError: There is no supervisor, or no permission, or no answer in time.
        RefusedError: The supervisor refused the request, with a reason.
    """
    body = {key: value for key, value in arguments.items() if value is not None}
    connection = _Connection(path, timeout)
    try:
        connection.request(method, target, body=json.dumps(body) if method == "POST" else None)
        answer = connection.getresponse()
        content = json.loads(answer.read())
    except FileNotFoundError:
        text = f"no supervisor serves {path}; is one running, as this user?"
        raise UnreachableError(text) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"the supervisor at {path} does not answer: {why}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise RefusedError(content.get("error", "refused"), content.get("problems", []))
    return dict(content)
