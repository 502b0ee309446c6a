"""The other end of the control socket: what the commands ask a running supervisor."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 90.0
"""Seconds for an answer: a reload imports all that the configuration names, in a child."""


class UnreachableError(Exception):
    """Nobody serves the control socket; the message names it."""


class RefusedError(Exception):
    """The supervisor refused; nothing was changed.

    Attributes:
        problems: All that is wrong with the configuration, if that is the reason.
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
    path: Path, method: str, what: str, *, timeout: float = TIMEOUT, **arguments: Any
) -> dict[str, Any]:
    """One request and its answer.

    Args:
        path: The control socket.
        method: GET or POST.
        what: Such as "/reload".
        timeout: Seconds for an answer.
        arguments: The body's object; what is None is left out.

    Raises:
        UnreachableError: Nobody is there, it may not be used, or it does not answer in time.
        RefusedError: It answered with a reason instead.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    connection = _Connection(path, timeout)
    try:
        connection.request(method, what, body=json.dumps(given) if method == "POST" else None)
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except FileNotFoundError:
        text = f"no supervisor serves {path}; is it running, and by this user?"
        raise UnreachableError(text) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"the supervisor at {path} cannot be asked: {why}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise RefusedError(body.get("error", "refused"), body.get("problems", []))
    return dict(body)
