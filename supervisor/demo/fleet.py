"""The demo's supervisor: `flowodm-supervisor run demo.toml` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from supervisor.demo.shop import LEDGERS
from supervisor.demo.view import parsed

if TYPE_CHECKING:
    from types import TracebackType

    from supervisor.demo.view import Entry

CONFIG = Path(__file__).with_name("demo.toml")
"""The configuration; in the repository config/demo.toml is a link to it."""
DEFAULT_PORT = 9108
"""Port of the page, if it is free."""
_ANSWER_TIMEOUT = 2.0
"""Seconds for an answer to /status."""
_KILLED_TIMEOUT = 15.0
"""Seconds for the end of the supervisor after it was killed."""
_LEASH = 'read -r _; kill -QUIT "$0"'
"""Program of the leash: kills a process when its standard input is closed."""


class FleetProcess:
    """Runs the supervisor while the context is open; it never outlives this process.

    Signals of the terminal do not reach it: `signal` sends it signals.

    Args:
        bootstrap_servers: Address of Kafka.
        ledgers: The folder in which workers note the orders that they have processed.
        port: Port of its HTTP server; another one if that is in use.

    Attributes:
        url: URL of its HTTP server.
    """

    def __init__(self, bootstrap_servers: str, ledgers: Path, port: int = DEFAULT_PORT) -> None:
        port = _free_port(port)
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "FLOWODM_DEMO_PORT": str(port),
            "FLOWODM_DEMO_INSTANCE": f"demo-{os.getpid()}",  # one of several on this machine
            LEDGERS: str(ledgers),
        }
        self._log: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process: subprocess.Popen[str]
        self._leash: subprocess.Popen[bytes]
        self._reader: threading.Thread

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, module and file
            [sys.executable, "-m", "supervisor", "run", str(CONFIG)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        try:
            self._leash = _start_leash(self._process.pid)
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        self._reader = threading.Thread(target=self._read, name="log", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill the supervisor and its workers, if it is still running."""
        if self.running:
            self.signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILLED_TIMEOUT)
        if self.running:
            self._process.kill()
            self._process.wait()
        _end_leash(self._leash)
        self._reader.join(_KILLED_TIMEOUT)

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the supervisor is still running."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The supervisor's exit status; None while it is running."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send the supervisor a signal; do nothing if it has ended."""
        self._process.send_signal(number)

    def status(self) -> dict[str, Any] | None:
        """Return its /status; None if it does not listen yet, or no longer."""
        try:
            with urllib.request.urlopen(  # noqa: S310 - our own address, always http
                f"{self.url}/status", timeout=_ANSWER_TIMEOUT
            ) as answer:
                status: dict[str, Any] = json.load(answer)
                return status
        except (OSError, ValueError):
            return None

    def log(self) -> list[Entry]:
        """Return what it has logged since the last call; after its end, everything that is left."""
        if not self.running:
            self._reader.join(_KILLED_TIMEOUT)
        entries = []
        with contextlib.suppress(queue.Empty):
            while True:
                entries.append(parsed(self._log.get_nowait()))
        return entries

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - for the type: it is a pipe
        for text in self._process.stdout:
            self._log.put(text.rstrip("\n"))


def _free_port(wanted: int) -> int:
    """Return the wanted port if it is free, else another one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no port of 127.0.0.1 is free")


def _start_leash(pid: int) -> subprocess.Popen[bytes]:
    """Start a process that reads from us and kills the supervisor when we end, for any reason.

    The supervisor does not drain then: the broker has ended too, and would take no commit.
    """
    return subprocess.Popen(  # noqa: S603 - constant but for a number
        ["/bin/sh", "-c", _LEASH, str(pid)], stdin=subprocess.PIPE, start_new_session=True
    )


def _end_leash(leash: subprocess.Popen[bytes]) -> None:
    leash.kill()
    leash.communicate()
