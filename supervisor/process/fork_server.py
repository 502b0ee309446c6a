"""The process that workers are forked from, as its parent sees it.

The server is `multiprocess.forkserver.main`, started by `fork_server_main`. This is the
client's side of its protocol, without what `multiprocess`'s own client brings along: a module
global server, a resource tracker process, and the parent's `__main__`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.process.launch import Launch

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG = 1024
"""Fork requests that may wait while the server still imports."""
EXIT_TIMEOUT = 5.0
"""Seconds that the server may take to end once it has no client, before it is killed."""


class ForkServer:
    """A fork server, started when the first worker is asked for and again if it died.

    Not for several threads at once.

    Attributes:
        preload: Modules that the server imports once.
        started: How many servers have been started so far.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        self.preload = list(preload)
        self.started = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._alive: int | None = None
        self._former: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int | None:
        """The server's process, while there is one."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def spawn(self, entry: str, fds: Sequence[int]) -> int:
        """Ask for a worker, starting the server if there is none.

        The request waits in the server's socket while the server still imports, so this takes
        about a millisecond. (On macOS, where the server acknowledges, it takes that import.)

        Args:
            entry: The worker's "module:function", see `Launch`.
            fds: What the worker inherits; stay the caller's to close.

        Returns:
            A file descriptor that yields the pid as 8 bytes in native order, and once the
            process is reaped its exit status as 8 more. Its end before that means that the
            server died.

        Raises:
            OSError: The system gives no process or file descriptor now; nothing was left open.
        """
        if self.pid is None:
            self._start()
        status_r, status_w = os.pipe()
        try:
            data_r, data_w = os.pipe()
            try:
                self._request([data_r, status_w, *fds])
                os.write(data_w, _instructions(entry))
            finally:
                os.close(data_r)
                os.close(data_w)
        except BaseException:
            os.close(status_r)
            raise
        finally:
            os.close(status_w)
        return status_r

    def _request(self, fds: list[int]) -> None:
        if self._alive is None:
            raise ConnectionError("the fork server is not running")
        first, second, *rest = fds
        with (
            socket.socket(socket.AF_UNIX) as client,
            Path(os.devnull).open("wb", buffering=0) as no_tracker,
        ):
            client.settimeout(EXIT_TIMEOUT)
            client.connect(self._address)
            sent = [first, second, self._alive, no_tracker.fileno(), *rest]
            socket.send_fds(client, [bytes([len(sent)])], sent)
            if sys.platform == "darwin":
                client.recv(1)

    def _start(self) -> None:
        self._forget()
        folder = tempfile.mkdtemp(prefix="flowodm-")  # 0700: nobody else can ask for a fork
        self._address = str(Path(folder, "fork"))
        alive_r, alive_w = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(self._address)
                listener.listen(BACKLOG)
                passed = (listener.fileno(), alive_r)
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                    [sys.executable, "-c", self._program(*passed)],
                    pass_fds=passed,
                    stdin=subprocess.DEVNULL,
                    process_group=0,
                )
        except BaseException:
            os.close(alive_w)
            self._forget()
            raise
        finally:
            os.close(alive_r)
        self._alive = alive_w
        self.started += 1

    def _program(self, listener_fd: int, alive_fd: int) -> str:
        serve = f"serve({listener_fd}, {alive_fd}, {self._address!r}, {self.preload!r})"
        path = f"import sys; sys.path[:] = {_search_path()!r}"
        return f"{path}; from supervisor.process.fork_server_main import serve; {serve}"

    def _forget(self) -> None:
        """Let go of the server; it ends when its last worker has."""
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None
        if self._address:
            Path(self._address).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                Path(self._address).parent.rmdir()
            self._address = ""
        self._process = None

    def renew(self, preload: Sequence[str]) -> None:
        """Start another server for the workers to come; this one ends with its last worker.

        Raises:
            OSError: The system gives no process or file descriptor now.
        """
        self._former = [former for former in self._former if former.poll() is None]
        old, self.preload = self._process, list(preload)
        self._start()
        if old is not None:
            self._former.append(old)

    async def close(self) -> None:
        """End the server and reap it. Its workers are expected to be gone."""
        processes = [*self._former, *([] if self._process is None else [self._process])]
        self._forget()
        deadline = time.monotonic() + EXIT_TIMEOUT
        for process in processes:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    process.kill()  # a handler's own child may hold its pipe open for ever
                await asyncio.sleep(0.005)


def _instructions(entry: str) -> bytes:
    """What `multiprocess.spawn` unpickles in the child: preparations, then what to run."""
    preparation = {"sys_path": _search_path(), "dir": str(Path.cwd())}
    return pickle.dumps(preparation) + pickle.dumps(Launch(entry))


def _search_path() -> list[str]:
    """sys.path with no relative entries; "" stands for the current folder."""
    return [str(Path(entry).absolute()) for entry in sys.path]
