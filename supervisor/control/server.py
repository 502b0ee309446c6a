"""The control socket: JSON over HTTP over a Unix socket, for whoever runs the supervisor.

    GET  /status                     what the page shows
    GET  /states?after=N             changes of state, behind the one of this number
    POST /reload                     read the configuration anew
    POST /restart  {"consumer", "slot"}   replace workers, all or some
    POST /scale    {"consumer", "workers"}
    POST /pause    {"consumer"}      fetch nothing, but stay
    POST /resume   {"consumer"}
    POST /stop     {"now"}

An answer is 200 with what was done, 400 for a request that makes no sense, or 409 with the
reason why it was refused; then nothing was changed. Access is the socket file's: mode 0600.
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

log = logging.getLogger("supervisor")

LONGEST_PATH = 100
"""Bytes of a socket's path; the kernel takes 107 (man 7 unix), and 103 on macOS."""
LARGEST_BODY = 64 * 1024
"""Bytes of a request's body."""


class ControlSocketError(Exception):
    """The control socket cannot be had; the message says why and what to do."""


class Controllable(Protocol):
    """What the socket is for."""

    def status(self) -> dict[str, Any]:
        """Everything that is shown."""

    def state_changes(self, after: int = 0) -> list[dict[str, Any]]:
        """The latest changes of state."""

    def reload(self) -> Future[Change]:
        """Read the configuration anew."""

    def restart(self, consumer: str | None = None, slot: int | None = None) -> Future[Change]:
        """Replace workers."""

    def scale(self, consumer: str, workers: int) -> Future[Change]:
        """Run another number of workers."""

    def pause(self, consumer: str | None = None) -> Future[Change]:
        """Have workers fetch nothing."""

    def resume(self, consumer: str | None = None) -> Future[Change]:
        """Have them go on."""

    def stop(self, *, now: bool = False) -> None:
        """Drain and end."""


class ControlSocket:
    """Serves one supervisor at one path, until it is closed.

    Args:
        path: Where; its folder is made if need be.
        supervisor: Whom to ask.
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

        A socket that a dead supervisor has left is taken over. Two supervisors never share a
        path, and so never an instance id: the lock file beside it is held for as long as the
        process lives, whatever ends it.

        Raises:
            ControlSocketError: Another supervisor is there, or the folder is not safe.
        """
        try:
            _safe_folder(self.path)
            self._lock = _locked(self.path)
            listener = _bound(self.path)
        except OSError as error:
            self._unlock()
            why = error.strerror or str(error)
            raise ControlSocketError(
                f"the control socket {self.path} cannot be had: {why}"
            ) from error
        self._web = Bounded(self._answer, loop=asyncio.get_running_loop(), access_log=None)
        self._listening = await asyncio.get_running_loop().create_unix_server(
            self._web, sock=listener
        )

    async def close(self) -> None:
        """Stop listening, and leave nothing behind."""
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
        except _NonsenseError as error:
            return _json(error.status, {"error": str(error)})
        except Exception as error:
            log.exception("a control request failed", extra={"path": request.path})
            return _json(500, {"error": f"{type(error).__name__}: {error}"})

    async def _do(self, request: web.BaseRequest) -> dict[str, Any]:
        action = self._actions.get((request.method, request.path))
        if action is None:
            raise _NonsenseError(404, f"there is no {request.method} {request.path}")
        return await action(request)

    async def _status(self, _request: web.BaseRequest) -> dict[str, Any]:
        return self._supervisor.status()

    async def _states(self, request: web.BaseRequest) -> dict[str, Any]:
        after = request.query.get("after", "0")
        if not after.isascii() or not after.isdigit():
            raise _NonsenseError(400, f"after must be a number, not {after!r}")
        return {"states": self._supervisor.state_changes(int(after))}

    async def _reload(self, request: web.BaseRequest) -> dict[str, Any]:
        await _arguments(request)
        return await _through(self._supervisor.reload())

    async def _restart(self, request: web.BaseRequest) -> dict[str, Any]:
        given = await _arguments(request, consumer=str, slot=int)
        return await _through(self._supervisor.restart(**given))

    async def _scale(self, request: web.BaseRequest) -> dict[str, Any]:
        given = await _arguments(request, consumer=str, workers=int)
        if missing := {"consumer", "workers"} - given.keys():
            raise _NonsenseError(400, f"{' and '.join(sorted(missing))} must be given")
        return await _through(self._supervisor.scale(**given))

    async def _pause(self, request: web.BaseRequest) -> dict[str, Any]:
        return await _through(self._supervisor.pause(**await _arguments(request, consumer=str)))

    async def _resume(self, request: web.BaseRequest) -> dict[str, Any]:
        return await _through(self._supervisor.resume(**await _arguments(request, consumer=str)))

    async def _stop(self, request: web.BaseRequest) -> dict[str, Any]:
        self._supervisor.stop(**await _arguments(request, now=bool))
        return {"stopping": True}


class _NonsenseError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _arguments(request: web.BaseRequest, **types: type) -> dict[str, Any]:
    """The body's object, with these keys or fewer; null is as good as not there."""
    if (request.content_length or 0) > LARGEST_BODY:
        raise _NonsenseError(413, "the request is too large")
    body = await request.content.read(LARGEST_BODY)
    try:
        given = json.loads(body or b"{}")
    except ValueError as error:
        raise _NonsenseError(400, f"the body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise _NonsenseError(400, "the body is no JSON object")
    for key, value in given.items():
        if key not in types:
            known = ", ".join(types) or "none"
            raise _NonsenseError(400, f"unknown key {key!r}; there are: {known}")
        if value is not None and type(value) is not types[key]:
            raise _NonsenseError(400, f"{key} must be of type {types[key].__name__}")
    return {key: value for key, value in given.items() if value is not None}


async def _through(answer: Future[Change]) -> dict[str, Any]:
    change: Change = await asyncio.wrap_future(answer)
    return asdict(change)


def _json(status: int, body: dict[str, Any]) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    return web.Response(status=status, text=text, content_type="application/json")


def default_path(instance_id: str) -> Path:
    """Where the command serves, and looks for, the supervisor of this name.

    In systemd's RuntimeDirectory= (the first one) if there is one, else below XDG_RUNTIME_DIR,
    else in a folder of the user's in /tmp.
    """
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        folder = Path(given.split(":")[0])
    elif user := os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(user, "flowodm")
    else:
        folder = Path("/tmp", f"flowodm-{os.getuid()}")  # noqa: S108 - its owner is checked
    return folder / f"{instance_id}.sock"


def _safe_folder(path: Path) -> None:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ControlSocketError(
            f"the control socket's path is longer than {LONGEST_PATH} bytes: {path}; give "
            "supervisor.control_socket a shorter one"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if folder.st_uid not in {os.getuid(), 0}:
        raise ControlSocketError(f"{path.parent} belongs to another user (uid {folder.st_uid})")
    if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ControlSocketError(
            f"{path.parent} can be written by others, who could put a socket of theirs there; "
            f"chmod go-w {path.parent}, or give supervisor.control_socket another folder"
        )


def _locked(path: Path) -> TextIO:
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
            f"another supervisor (pid {pid or 'unknown'}) has {path}: two of one instance id "
            "would fence each other's workers; give this one another supervisor.instance_id"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _bound(path: Path) -> socket.socket:
    """A listening socket; the lock is held, so what is at the path is nobody's."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlSocketError(f"{path} is there, and is no socket; remove it")
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
