"""Starts the fork server, and asks it for workers.

The server is `multiprocess.forkserver.main`, started by `fork_server_main`. This is the
client of its protocol. It does not use the client of `multiprocess`, which needs a module-global
server and a resource tracker process, and imports the parent's `__main__`.
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
"""Fork requests that may wait while the server imports its modules."""
EXIT_TIMEOUT = 5.0
"""Seconds that the server may take to exit once it has no client, before it is killed."""


class ForkServer:
    """A fork server; it is started for the first worker, and again if it has died.

    Not thread-safe.

    Attributes:
        preload: Modules that the server imports when it starts.
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
        """The server's process; None if there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def spawn(self, entry: str, fds: Sequence[int]) -> int:
        """Ask the server for a worker; start the server if there is none.

        This takes about a millisecond: while the server imports its modules, the request waits
        in its socket. (On macOS the server acknowledges the request, so this takes that long.)

        Args:
            entry: The worker's "module:function", see `Launch`.
            fds: File descriptors that the worker inherits; the caller still has to close its own.

        Returns:
            A file descriptor that yields the pid as 8 bytes in native order, and 8 more with the
            exit status once the process is reaped. If it ends before that, the server has died.

        Raises:
            OSError: The system has no process or file descriptor left; nothing was left open.
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
        self._let_go()
        folder = tempfile.mkdtemp(prefix="flowodm-")  # 0700: no other user can ask for a fork
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
            self._let_go()
            raise
        finally:
            os.close(alive_r)
        self._alive = alive_w
        self.started += 1

    def _program(self, listener_fd: int, alive_fd: int) -> str:
        serve = f"serve({listener_fd}, {alive_fd}, {self._address!r}, {self.preload!r})"
        path = f"import sys; sys.path[:] = {_search_path()!r}"
        return f"{path}; from supervisor.process.fork_server_main import serve; {serve}"

    def _let_go(self) -> None:
        """Close the pipe that keeps the server alive; it exits after its last worker."""
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
        """Start another server for the next workers; the old one exits after its last worker.

        Raises:
            OSError: The system has no process or file descriptor left.
        """
        self._former = [former for former in self._former if former.poll() is None]
        old, self.preload = self._process, list(preload)
        self._start()
        if old is not None:
            self._former.append(old)

    async def close(self) -> None:
        """End the servers and reap them. Their workers should have ended before."""
        processes = list(self._former)
        if self._process is not None:
            processes.append(self._process)
        self._let_go()
        deadline = time.monotonic() + EXIT_TIMEOUT
        for process in processes:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    process.kill()  # a child of a handler may keep its pipe open for ever
                await asyncio.sleep(0.005)


def _instructions(entry: str) -> bytes:
    """Pickle what `multiprocess.spawn` unpickles in the child: preparations, then the `Launch`."""
    preparation = {"sys_path": _search_path(), "dir": str(Path.cwd())}
    return pickle.dumps(preparation) + pickle.dumps(Launch(entry))


def _search_path() -> list[str]:
    """Return sys.path with absolute entries; "" stands for the current folder."""
    return [str(Path(entry).absolute()) for entry in sys.path]
