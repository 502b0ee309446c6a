"""The control socket: JSON over HTTP over a Unix socket, for the user who runs the supervisor.

    GET  /status                     what the page shows
    GET  /states?after=N             state changes after that of this number
    POST /reload                     read the configuration again
    POST /restart  {"consumer", "slot"}   replace all workers, or some
    POST /scale    {"consumer", "workers"}
    POST /pause    {"consumer"}      fetch no records, stay in the group
    POST /resume   {"consumer"}
    POST /stop     {"now"}

The answer is 200 with what was done, 400 if the request is not valid, or 409 with the reason if it
was refused; then nothing was changed. The socket file's mode, 0600, says who has access.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import stat
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from aiohttp import web

from supervisor.changes.changes import ChangeRefusedError
from supervisor.config.problems import ConfigError
from supervisor.http.server import Bounded

if TYPE_CHECKING:
    from concurrent.futures import Future

    from supervisor.changes.changes import Change

_log = logging.getLogger("supervisor")

LONGEST_PATH = 100
"""Bytes of a socket's path at most; the kernel takes 107 (man 7 unix), and 103 on macOS."""
LARGEST_BODY = 64 * 1024
"""Bytes of a request's body at most."""
_TYPE_NAMES = {str: "a string", int: "an integer", bool: "true or false"}
"""Types of arguments, in JSON's words."""


class ControlSocketError(Exception):
    """The control socket cannot be opened; the message says why and what to do."""


class Controllable(Protocol):
    """The supervisor, as the control socket sees it."""

    def status(self) -> dict[str, Any]:
        """Return what /status shows."""

    def state_changes(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the latest state changes, after that of a number."""

    def reload(self) -> Future[Change]:
        """Read the configuration again."""

    def restart(self, consumer: str | None = None, slot: int | None = None) -> Future[Change]:
        """Replace workers."""

    def scale(self, consumer: str, workers: int) -> Future[Change]:
        """Change the number of a consumer's workers."""

    def pause(self, consumer: str | None = None) -> Future[Change]:
        """Stop workers from fetching."""

    def resume(self, consumer: str | None = None) -> Future[Change]:
        """Let paused workers go on."""

    def stop(self, *, now: bool = False) -> None:
        """Drain all workers and end."""


class ControlSocket:
    """Serves one supervisor at one path, until it is closed.

    Args:
        path: Path of the socket; its folder is made if it is missing.
        supervisor: The supervisor.
    """

    def __init__(self, path: Path, supervisor: Controllable) -> None:
        self.path = path
        self._supervisor = supervisor
        self._lock: TextIO | None = None
        self._listening: asyncio.Server | None = None
        self._web: web.Server | None = None
        self._actions = {
            ("GET", "/status"): self._status,
            ("GET", "/states"): self._states,
            ("POST", "/reload"): self._reload,
            ("POST", "/restart"): self._restart,
            ("POST", "/scale"): self._scale,
            ("POST", "/pause"): self._pause,
            ("POST", "/resume"): self._resume,
            ("POST", "/stop"): self._stop,
        }

    async def start(self) -> None:
        """Take the path and listen.

        The socket of a dead supervisor is taken over. Two supervisors never share a path, and so
        never an instance_id: the process holds a lock on the file beside it until it ends.

        Raises:
            ControlSocketError: Another supervisor serves the path, or the folder is not safe.
        """
        try:
            _make_safe_folder(self.path)
            self._lock = _locked(self.path)
            listener = _bound(self.path)
        except OSError as error:
            self._unlock()
            why = error.strerror or str(error)
            raise ControlSocketError(
                f"cannot open the control socket {self.path}: {why}"
            ) from error
        self._web = Bounded(self._answer, loop=asyncio.get_running_loop(), access_log=None)
        self._listening = await asyncio.get_running_loop().create_unix_server(
            self._web, sock=listener
        )

    async def close(self) -> None:
        """Stop listening, and remove the socket."""
        if self._listening is not None:
            self._listening.close()
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        if self._web is not None:
            await self._web.shutdown(timeout=1.0)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return _json(200, await self._do(request))
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
            return _json(409, {"error": "the configuration is not valid", "problems": problems})
        except ChangeRefusedError as error:
            return _json(409, {"error": str(error)})
        except _InvalidRequestError as error:
            return _json(error.status, {"error": str(error)})
        except Exception as error:  # noqa: BLE001 - it is logged and answered
            _log.exception("a control request failed", extra={"path": request.path})
            return _json(500, {"error": f"{type(error).__name__}: {error}"})

    async def _do(self, request: web.BaseRequest) -> dict[str, Any]:
        action = self._actions.get((request.method, request.path))
        if action is None:
            raise _InvalidRequestError(404, f"there is no {request.method} {request.path}")
        return await action(request)

    async def _status(self, _request: web.BaseRequest) -> dict[str, Any]:
        return self._supervisor.status()

    async def _states(self, request: web.BaseRequest) -> dict[str, Any]:
        after = request.query.get("after", "0")
        if not after.isascii() or not after.isdigit():
            raise _InvalidRequestError(400, f"after must be a number, not {after!r}")
        return {"states": self._supervisor.state_changes(int(after))}

    async def _reload(self, request: web.BaseRequest) -> dict[str, Any]:
        await _arguments(request)
        return await _result(self._supervisor.reload())

    async def _restart(self, request: web.BaseRequest) -> dict[str, Any]:
        arguments = await _arguments(request, consumer=str, slot=int)
        return await _result(self._supervisor.restart(**arguments))

    async def _scale(self, request: web.BaseRequest) -> dict[str, Any]:
        arguments = await _arguments(request, consumer=str, workers=int)
        missing = sorted({"consumer", "workers"} - arguments.keys())
        if missing:
            raise _InvalidRequestError(400, f"{' and '.join(missing)} must be given")
        return await _result(self._supervisor.scale(**arguments))

    async def _pause(self, request: web.BaseRequest) -> dict[str, Any]:
        return await _result(self._supervisor.pause(**await _arguments(request, consumer=str)))

    async def _resume(self, request: web.BaseRequest) -> dict[str, Any]:
        return await _result(self._supervisor.resume(**await _arguments(request, consumer=str)))

    async def _stop(self, request: web.BaseRequest) -> dict[str, Any]:
        self._supervisor.stop(**await _arguments(request, now=bool))
        return {"stopping": True}


class _InvalidRequestError(Exception):
    """The request is not valid; the answer has this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _arguments(request: web.BaseRequest, **types: type) -> dict[str, Any]:
    """Read the body's object, whose keys are all optional; null is the same as no key."""
    if (request.content_length or 0) > LARGEST_BODY:
        raise _InvalidRequestError(413, "the request is too large")
    body = await request.content.read(LARGEST_BODY)
    try:
        values = json.loads(body or b"{}")
    except ValueError as error:
        raise _InvalidRequestError(400, f"the body is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise _InvalidRequestError(400, "the body is not a JSON object")
    for key, value in values.items():
        _check_argument(key, value, types)
    return {key: value for key, value in values.items() if value is not None}


def _check_argument(key: str, value: object, types: dict[str, type]) -> None:
    if key not in types:
        keys = ", ".join(types) or "none"
        raise _InvalidRequestError(400, f"unknown key {key!r}; known keys: {keys}")
    if value is not None and type(value) is not types[key]:
        raise _InvalidRequestError(400, f"{key} must be {_TYPE_NAMES[types[key]]}")


async def _result(answer: Future[Change]) -> dict[str, Any]:
    change: Change = await asyncio.wrap_future(answer)
    return asdict(change)


def _json(status: int, body: dict[str, Any]) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    return web.Response(status=status, text=text, content_type="application/json")


def default_path(instance_id: str) -> Path:
    """Return the default path of a supervisor's control socket.

    It is in systemd's RuntimeDirectory= (the first one) if there is one, else below
    XDG_RUNTIME_DIR, else in a folder of the user's in /tmp.
    """
    if directories := os.environ.get("RUNTIME_DIRECTORY"):
        folder = Path(directories.split(":")[0])
    elif user := os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(user, "flowodm")
    else:
        folder = Path("/tmp", f"flowodm-{os.getuid()}")  # noqa: S108 - its owner is checked
    return folder / f"{instance_id}.sock"


def _make_safe_folder(path: Path) -> None:
    """Make the socket's folder, and check that no other user can put a socket there."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ControlSocketError(
            f"the control socket's path is longer than {LONGEST_PATH} bytes: {path}; write a "
            "shorter supervisor.control_socket"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if folder.st_uid not in {os.getuid(), 0}:
        raise ControlSocketError(f"{path.parent} belongs to another user (uid {folder.st_uid})")
    if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ControlSocketError(
            f"other users can write to {path.parent} and could put a socket of theirs there; run "
            f"chmod go-w {path.parent}, or write a supervisor.control_socket in another folder"
        )


def _locked(path: Path) -> TextIO:
    """Lock the file beside the socket, which has the pid of the supervisor that holds it."""
    lock = path.with_name(f"{path.name}.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        pid = lock.read(20).strip()
        lock.close()
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        raise ControlSocketError(
            f"another supervisor (pid {pid or 'unknown'}) serves {path}: two with the same "
            "instance_id would fence each other's workers; write another supervisor.instance_id "
            "for this one"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _bound(path: Path) -> socket.socket:
    """Bind a listening socket. The lock is held, so no supervisor uses an old one."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlSocketError(f"{path} exists and is not a socket; remove it")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener
