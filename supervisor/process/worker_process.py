"""One worker process as the supervisor holds it: its socket, its death, its signals.

Everything is driven by the event loop's readers; no call here waits. On Linux a worker is
held by a pidfd: only that says that it is dead (the fork server's word also ends when the
fork server itself dies, with its workers alive), and only through it is it signalled (a pid
may be somebody else's by then).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.protocol import Bye, Decoder, Frame, ProtocolError, encode
from supervisor.slot.events import Exited, ProtocolViolation, Spawned, SpawnFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.process.fork_server import ForkServer

_NUMBER = struct.Struct("q")
_RECEIVE = 256 * 1024
STATUS_TIMEOUT = 2.0
"""Seconds between a worker's confirmed death and the fork server's word on its exit status."""


ProcessEvent = Frame | Spawned | SpawnFailed | ProtocolViolation | Exited
"""What a worker process reports: a frame that it sent, or a change of its life.

`SpawnFailed` and `Exited` are the last event; by then every file descriptor is closed.
"""


class WorkerProcess:
    """A worker process from the request to its confirmed death.

    Args:
        server: Where it is forked.
        entry: Its "module:function", called with [socket, pidfd of this process] (on macOS
            without the latter).
        report: Called on the event loop with each event.

    Attributes:
        pid: Its pid, once the fork server has told.

    Raises:
        OSError: The system gives no process or file descriptor now; nothing was left open.
    """

    def __init__(
        self, server: ForkServer, entry: str, report: Callable[[ProcessEvent], None]
    ) -> None:
        self.pid: int | None = None
        self._server = server
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._socket, theirs = socket.socketpair()
        try:
            with theirs, _own_pidfd() as ourselves:
                self._status_fd = server.spawn(entry, [theirs.fileno(), *ourselves])
        except BaseException:
            self._socket.close()
            raise
        self._decoder: Decoder | None = Decoder()
        self._outgoing = bytearray()
        self._told = b""  # what the fork server said: pid, then status
        self._pidfd: int | None = None
        self._pending_signal: signal.Signals | None = None
        self._announced = self._status_ended = self._socket_ended = False
        self._dead = self._closed = False
        self._bye: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._on_socket)
        self._loop.add_reader(self._status_fd, self._on_status)

    def send(self, frame: Frame) -> None:
        """Queue a frame; what a dead worker does not read is dropped."""
        if not self._closed:
            self._outgoing += encode(frame)
            self._flush()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, as soon as the process is known."""
        self._pending_signal = number
        self._deliver()

    def abandon(self) -> None:
        """Forget a process that does not end even by SIGKILL; nothing is told any more."""
        self._close()

    # The socket: frames both ways

    def _flush(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._flush)
            return
        except OSError:
            self._outgoing.clear()  # the worker has closed its end: it is about to die
        self._loop.remove_writer(self._socket)

    def _on_socket(self) -> None:
        if self._receive() is None:
            self._loop.remove_reader(self._socket)
            self._socket_ended = True
            self._settle()

    def _receive(self) -> int | None:
        """Take what is there: the bytes received, 0 if none are, None at the stream's end."""
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return 0
        except OSError:
            return None
        if self._decoder is not None:
            try:
                for frame in self._decoder.feed(data):
                    if isinstance(frame, Bye):
                        self._bye = frame.code
                    self._report(frame)
            except ProtocolError as error:
                self._decoder = None
                self._report(ProtocolViolation(str(error)))
        return len(data) or None

    # The fork server's word: the pid, later the status

    def _on_status(self) -> None:
        data = os.read(self._status_fd, 2 * _NUMBER.size - len(self._told))
        knew_pid = self.pid is not None
        self._told += data
        if not data or len(self._told) == 2 * _NUMBER.size:
            self._loop.remove_reader(self._status_fd)
            self._status_ended = True
        if not knew_pid and len(self._told) >= _NUMBER.size:
            self.pid = _NUMBER.unpack_from(self._told)[0]
            self._hold(self.pid)
        self._settle()

    def _status(self) -> int | None:
        if len(self._told) < 2 * _NUMBER.size:
            return None
        status: int = _NUMBER.unpack_from(self._told, _NUMBER.size)[0]
        return status

    def _hold(self, pid: int) -> None:
        """Get hold of the process; if it cannot be had it is not told to start, and ends."""
        if sys.platform == "linux":
            try:
                self._pidfd = os.pidfd_open(pid)
            except OSError:
                self._refuse()
                return
            if _parent_of(pid) not in {self._server.pid, None}:
                # Already reaped, and the pid is another process's.
                os.close(self._pidfd)
                self._pidfd = None
                self._refuse()
                return
            self._loop.add_reader(self._pidfd, self._on_death)
        self._announced = True
        self._report(Spawned(pid))
        self._deliver()

    def _refuse(self) -> None:
        """Let the process see the end of its pipe: without a Start frame it just ends."""
        with contextlib.suppress(OSError):  # it may have ended already
            self._socket.shutdown(socket.SHUT_WR)

    def _deliver(self) -> None:
        if not self._announced or self._dead or self._closed or self._pending_signal is None:
            return
        number, self._pending_signal = self._pending_signal, None
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self.pid is not None and not self._status_ended:
                os.kill(self.pid, number)  # macOS: not reaped yet, so the pid is still its own

    # The end

    def _on_death(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
        self._dead = True
        self._settle()

    def _settle(self) -> None:
        """Look whether the process's end is known well enough to tell it."""
        if self._closed:
            return
        if not self._announced:
            if self._status() is not None:
                self._finish()
            elif self._status_ended:
                self._close()
                self._report(SpawnFailed("the fork server died before it could fork"))
            return
        if self._pidfd is None:
            self._dead = self._status() is not None or (self._status_ended and self._socket_ended)
        if self._dead and self._status_ended:
            self._finish()
        elif self._dead and self._timer is None:
            self._timer = self._loop.call_later(STATUS_TIMEOUT, self._finish)

    def _finish(self) -> None:
        while self._receive():
            pass  # the last heartbeat and the farewell are still in the socket
        self._close()
        status = self._status()
        self._report(Exited(self._bye if status is None else status))

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for fd in (self._status_fd, self._pidfd):
            if fd is not None:
                self._loop.remove_reader(fd)
                os.close(fd)


@contextlib.contextmanager
def _own_pidfd() -> Iterator[list[int]]:
    """A pidfd of this process for the worker to watch, where there is such a thing."""
    if sys.platform != "linux":
        yield []
        return
    fd = os.pidfd_open(os.getpid())
    try:
        yield [fd]
    finally:
        os.close(fd)


def _parent_of(pid: int) -> int | None:
    """The pid of a process's parent; None if /proc does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command in parentheses may itself hold blanks and parentheses (man 5 proc).
    return int(stat.rpartition(")")[2].split()[1])
