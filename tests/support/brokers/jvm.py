"""A server in a JVM of its own: started, watched, stopped, killed and started again."""

from __future__ import annotations

import abc
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from support.brokers import artifacts
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
LOG_TAIL_LINES = 40
LOGS_KEPT = 20
#: Linux has it; and the bytes free in there from which on data is put there.
SHARED_MEMORY = "/dev/shm"
ROOM = 4 << 30


class JvmServer(abc.ABC):
    """One server process on 127.0.0.1; a context manager that starts and stops it.

    The port and the data folder stay the same from the first start to :meth:`close`, so that
    :meth:`restart` brings back the same server. The log file outlives the server.
    """

    name: str
    # Test servers live for minutes: quick start-up is worth more than peak speed.
    jvm_options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")

    def __init__(self, *, heap: str) -> None:
        self.heap = heap
        self.port = free_port()
        self.data = Path(tempfile.mkdtemp(prefix=f"flowodm-{self.name}-", dir=_in_memory()))
        self.log_path = _log_path(f"{self.name}-{os.getpid()}-{self.port}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def _arguments(self) -> list[str]:
        """What follows ``java`` and the memory options on the command line."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether the server does its work now; asked again and again until it does."""

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Fetch and write what has to be there before the first start."""

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The pid of the running server; AssertionError where none runs."""
        if self._process is None:
            raise AssertionError(f"{self.name} on port {self.port} is not running")
        return self._process.pid

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start and wait until it answers; otherwise AssertionError with the log's tail."""
        if self._process is not None:
            raise AssertionError(f"{self.name} on port {self.port} runs already")
        with self.log_path.open("ab") as log:
            self._process = self._java(self._arguments(), log)
        self._watcher = _clean_up_when_we_are_gone(self._process.pid, self.data)
        try:
            wait_until(self._ready, timeout, f"{self.name} answers on port {self.port}")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self._log_tail()}") from None

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End it in good order: TERM, up to ``timeout`` seconds, then KILL. Twice is harmless."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL, STOP_TIMEOUT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there and answers nothing while the context is open."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop in good order and start again: the same port, the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good and remove the data; the log stays."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def _run_to_end(self, arguments: list[str]) -> None:
        """Run another program of the same jars, its output in the same log."""
        with self.log_path.open("ab") as log:
            process = self._java(arguments, log)
            status = process.wait(START_TIMEOUT)
        if status != 0:
            raise AssertionError(f"java {' '.join(arguments)}: {status}\n{self._log_tail()}")

    def _java(self, arguments: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [artifacts.java(), f"-Xmx{self.heap}", *self.jvm_options, *arguments]
        return subprocess.Popen(
            command,
            cwd=self.data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its own process group: Ctrl-C in the terminal is for pytest alone.
            start_new_session=True,
        )

    def _ready(self) -> bool:
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            raise AssertionError(f"{self.name} ended by itself with status {status}")
        return self._answers()

    def _end(self, how: signal.Signals, timeout: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # The watcher goes first: from here on the pid may be reaped and given to another process.
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()
            watcher.communicate()
        process.send_signal(how)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout)

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"the end of {self.log_path}:", *lines])


def _in_memory() -> str | None:
    """A folder in memory, if there is room: on a disk that others write to, a broker may stand
    still for longer than the sessions of the tests' members."""
    try:
        roomy = shutil.disk_usage(SHARED_MEMORY).free >= ROOM
    except OSError:
        return None
    return SHARED_MEMORY if roomy else None


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, below the range that the kernel gives to clients.

    Clients of a server that is down ask again and again. With a port of the ephemeral range such
    a client can be given that very port as its own, connect to itself and keep the server from
    ever coming back.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _clean_up_when_we_are_gone(pid: int, data: Path) -> subprocess.Popen[bytes]:
    """A process that reads from us; when we end, however that is, it kills and removes.

    Needed because pytest-timeout ends pytest by os._exit, after which no fixture is torn down.
    """
    # The second's pause lets the killed server's last writes end before its folder goes.
    script = 'read -r _; kill -KILL "$0"; sleep 1; rm -rf "$1"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, str(pid), str(data)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _log_path(name: str) -> Path:
    folder = artifacts.cache_root() / "logs"
    folder.mkdir(exist_ok=True)
    by_age = sorted(folder.glob("*.log"), key=_modified)
    for old in by_age[: -LOGS_KEPT + 1]:
        old.unlink(missing_ok=True)
    return folder / name


def _modified(path: Path) -> float:
    # Another test process may remove the same old log in the meantime.
    return path.stat().st_mtime if path.exists() else 0.0
