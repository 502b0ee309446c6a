"""The demo as a user starts it, with or without a terminal, and every process it starts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import urllib.request
from pathlib import Path

from supervisor.process.proc_stat import parent_of
from support.brokers.jvm import free_port
from support.fleets.fleets import alive
from support.waiting import wait_until

DEMO = [sys.executable, "-m", "supervisor", "demo"]
PATIENCE = 90.0
# A session of its own, with the terminal on its standard input: Ctrl-C there is then for it.
ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
LAST_LINE = re.compile(
    r"produced (\d+), processed (\d+) \((\d+) repeated\) by packing, "
    r"(\d+) \((\d+) repeated\) by mailing, restarted (\d+)"
)


def descendants(pid: int) -> set[int]:
    """The pids of all that a process has started, directly or not, and that is still its own."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        child = int(folder.name)
        parents[child] = parent_of(child)
    found, wave = set(), {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave} - found
        found |= wave
    return found


class Demo:
    """The command at work. What it prints is in ``text``; all it ever started in ``pids``.

    Args:
        terminal: Whether it runs on a terminal.
        environment: What its environment has besides ours.
    """

    def __init__(self, *, terminal: bool = False, **environment: str) -> None:
        self.pids: set[int] = set()
        self._printed = bytearray()
        self._command = [sys.executable, "-c", ON_A_TERMINAL, *DEMO] if terminal else DEMO
        self._terminal = terminal
        inherited = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "COLUMNS"}}
        # A port of its own, as other tests run beside it.
        own = {"TERM": "xterm-256color", "DEMO_PORT": str(free_port())}
        self._environment = {**inherited, **own, **environment}
        self._reader = threading.Thread(target=self._read)

    def __enter__(self):
        self._ours, its = os.openpty() if self._terminal else os.pipe()
        if self._terminal:
            fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=its if self._terminal else subprocess.DEVNULL,
            stdout=its,
            stderr=its,
            # As a shell does; the terminal's trampoline makes a session by itself.
            process_group=None if self._terminal else 0,
        )
        os.close(its)
        self._reader.start()
        return self

    def __exit__(self, *_):
        self.pids |= descendants(self.process.pid)
        for pid in (self.process.pid, *self.pids):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        os.close(self._ours)

    def _read(self):
        """Until nobody holds the other end; a terminal then says EIO."""
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65536):
                self._printed += data

    @property
    def text(self) -> str:
        return self._printed.decode(errors="replace").replace("\r\n", "\n")

    @property
    def plain(self) -> str:
        """The text without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.text)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def until(self, condition, what):
        """Wait for a fact while the demo runs."""

        def ask():
            self.pids |= descendants(self.process.pid)
            return condition() or self.process.poll() is not None

        wait_until(ask, PATIENCE, what)
        assert condition(), f"the demo ended without this: {what}\n{self.text}"

    def until_it_says(self, part: str) -> None:
        self.until(lambda: part in self.text, f"it says {part!r}")

    def status(self) -> dict:
        """The supervisor's /status, at the address that was printed."""
        url = re.search(r"in a browser: (http://\S+/)", self.text)[1]
        with urllib.request.urlopen(f"{url}status", timeout=5) as answer:
            return json.load(answer)

    def until_ready(self) -> None:
        self.until_it_says("every worker is assigned")

    def kill(self, pid: int) -> None:
        """SIGKILL to one of its processes."""
        assert pid in self.pids
        os.kill(pid, signal.SIGKILL)

    def interrupt(self) -> None:
        """What Ctrl-C does to a foreground job."""
        os.killpg(self.process.pid, signal.SIGINT)

    def press_ctrl_c(self) -> None:
        os.write(self._ours, b"\x03")

    def wait(self) -> int:
        """The exit status, all descendants noted on the way."""

        def ended():
            self.pids |= descendants(self.process.pid)
            return self.process.poll() is not None

        wait_until(ended, PATIENCE, "the demo ends")
        return self.process.returncode

    def supervisor(self) -> int:
        """The pid of the supervisor."""
        return int(re.search(r"supervisor \(pid (\d+)\)", self.text)[1])

    def broker(self) -> int:
        """The pid of the embedded broker."""
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.pids}
        (pid,) = [pid for pid, words in commands.items() if b"flowodm.testing.broker" in words]
        return pid

    def nothing_is_left(self) -> None:
        """No process that it ever started still runs."""
        assert self.pids
        wait_until(lambda: not any(map(alive, self.pids)), 15, f"{self.pids} are dead: {self.text}")
