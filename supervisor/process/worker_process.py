"""One worker process as the supervisor sees it: its socket, its signals, its death.

The event loop's readers drive everything; no call here blocks. On Linux the process is held by a
pidfd. Only the pidfd proves its death: the fork server's pipe also ends when the fork server
itself dies and its workers live on. And only through the pidfd is the process signalled: its pid
may belong to another process by then.

The states of a process, see `_State`::

    REQUESTED --pid, held-----> RUNNING --pidfd readable--> DEAD --status or time-out--> CLOSED
    REQUESTED --pid, not held-> UNHELD --status------------------------------------> CLOSED
    REQUESTED, UNHELD --end of the fork server's pipe without a status-------------> CLOSED

    Without pidfds (macOS):
    RUNNING --status---------------------------------------------------------------> CLOSED
    RUNNING --end of the fork server's pipe--> UNWATCHED --end of the socket-------> CLOSED
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from supervisor.process.proc_stat import parent_of
from supervisor.protocol import Bye, Decoder, Frame, ProtocolError, encode
from supervisor.slot.events import Exited, ProtocolViolation, Spawned, SpawnFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.process.fork_server import ForkServer

_NUMBER = struct.Struct("q")
"""How the fork server writes a pid and an exit status."""
_RECEIVE = 256 * 1024
"""Bytes that are read from the socket at once."""
STATUS_TIMEOUT = 2.0
"""Seconds from a worker's confirmed death until its exit status counts as unknown."""

ProcessEvent = Frame | Spawned | SpawnFailed | ProtocolViolation | Exited
"""What a worker process reports: a frame that it sent, or a change of its life.

`SpawnFailed` and `Exited` are the last event; by then every file descriptor is closed.
"""


class _State(Enum):
    REQUESTED = auto()
    """The fork server was asked for the process."""
    UNHELD = auto()
    """It was forked, but cannot be held: it gets no Start frame, and so exits by itself."""
    RUNNING = auto()
    """It was forked and is held; `Spawned` was reported."""
    UNWATCHED = auto()
    """It runs, and only the end of its socket will tell of its death."""
    DEAD = auto()
    """Its death is confirmed; its exit status is still to come."""
    CLOSED = auto()
    """It is dead, was never forked, or was abandoned; nothing more is reported."""


class WorkerProcess:
    """A worker process from the request to its confirmed death.

    Args:
        server: The fork server that forks it.
        entry: Its "module:function", called with [socket, pidfd of this process] (on macOS
            without the latter).
        report: Called on the event loop with each event.

    Attributes:
        pid: Its pid, once the fork server has reported it.

    Raises:
        OSError: The system has no process or file descriptor left; nothing was left open.
    """

    def __init__(
        self, server: ForkServer, entry: str, report: Callable[[ProcessEvent], None]
    ) -> None:
        self.pid: int | None = None
        self._state = _State.REQUESTED
        self._server = server
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._socket, workers_end = socket.socketpair()
        try:
            with workers_end, _own_pidfd() as own_pidfd:
                fds = [workers_end.fileno(), *own_pidfd]
                self._status_fd: int | None = server.spawn(entry, fds)
        except BaseException:
            self._socket.close()
            raise
        self._decoder: Decoder | None = Decoder()
        self._outgoing = bytearray()
        self._status_bytes = b""  # from the fork server: the pid, later the exit status
        self._pidfd: int | None = None
        self._pending_signal: signal.Signals | None = None
        self._exit_code: int | None = None  # from the worker's last frame
        self._timer: asyncio.TimerHandle | None = None
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._on_socket)
        self._loop.add_reader(self._status_fd, self._on_status)

    def send(self, frame: Frame) -> None:
        """Queue a frame; what a dead worker does not read is dropped."""
        if self._state is not _State.CLOSED:
            self._outgoing += encode(frame)
            self._flush()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; if the process is not forked yet, send it then."""
        self._pending_signal = number
        self._send_signal()

    def abandon(self) -> None:
        """Let go of the process, which may live on; nothing more is reported."""
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
            self._outgoing.clear()  # the worker has closed its end: it is about to exit
        self._loop.remove_writer(self._socket)

    def _on_socket(self) -> None:
        if self._receive() is not None:
            return
        self._loop.remove_reader(self._socket)
        if self._state is _State.UNWATCHED:
            self._finish()

    def _receive(self) -> int | None:
        """Take what has arrived; return its length, 0 if nothing has, None at the end."""
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return 0
        except OSError:
            return None
        if self._decoder is not None:
            self._decode(self._decoder, data)
        return len(data) or None

    def _decode(self, decoder: Decoder, data: bytes) -> None:
        try:
            for frame in decoder.feed(data):
                if isinstance(frame, Bye):
                    self._exit_code = frame.code
                self._report(frame)
        except ProtocolError as error:
            self._decoder = None  # nothing after this can be trusted
            self._report(ProtocolViolation(str(error)))

    # The fork server's pipe: the pid, later the exit status

    def _on_status(self) -> None:
        if self._status_fd is None:
            return
        data = os.read(self._status_fd, 2 * _NUMBER.size - len(self._status_bytes))
        self._status_bytes += data
        if self.pid is None and len(self._status_bytes) >= _NUMBER.size:
            self.pid = _NUMBER.unpack_from(self._status_bytes)[0]
            self._on_forked(self.pid)
        if not data or len(self._status_bytes) == 2 * _NUMBER.size:
            self._close_status()
            self._on_status_end()

    def _on_forked(self, pid: int) -> None:
        if sys.platform == "linux":
            self._pidfd = self._open_pidfd(pid)
            if self._pidfd is None:
                self._state = _State.UNHELD
                self._send_end()
                return
            self._loop.add_reader(self._pidfd, self._on_death)
        self._state = _State.RUNNING
        self._report(Spawned(pid))
        self._send_signal()

    def _on_status_end(self) -> None:
        """Take note that the fork server has reported the exit status, or has died before."""
        match self._state:
            case _State.REQUESTED | _State.UNHELD:
                if self._exit_status is None:
                    self._close()
                    self._report(SpawnFailed("the fork server died before it could fork"))
                else:
                    self._finish()
            case _State.RUNNING:
                if self._pidfd is not None:
                    return  # that will tell of its death
                if self._exit_status is not None:
                    self._finish()
                    return
                self._state = _State.UNWATCHED
                self._loop.add_reader(self._socket, self._on_socket)  # it may be at its end
            case _State.DEAD:
                self._finish()
            case _State.UNWATCHED | _State.CLOSED:
                pass
            case _:
                assert_never(self._state)

    @property
    def _exit_status(self) -> int | None:
        if len(self._status_bytes) < 2 * _NUMBER.size:
            return None
        status: int = _NUMBER.unpack_from(self._status_bytes, _NUMBER.size)[0]
        return status

    def _open_pidfd(self, pid: int) -> int | None:
        """Open a pidfd of the process; return None if it has been reaped already."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        if parent_of(pid) not in {self._server.pid, None}:
            os.close(pidfd)  # the pid is another process's by now
            return None
        return pidfd

    def _send_end(self) -> None:
        """Let the process see the end of its socket: without a Start frame it exits."""
        with contextlib.suppress(OSError):  # it may have exited already
            self._socket.shutdown(socket.SHUT_WR)

    def _send_signal(self) -> None:
        if self._state is not _State.RUNNING or self._pending_signal is None:
            return
        number, self._pending_signal = self._pending_signal, None
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self.pid is not None:
                os.kill(self.pid, number)  # macOS: not reaped yet, so the pid is still its own

    # The end

    def _on_death(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
        self._state = _State.DEAD
        if self._status_fd is None:
            self._finish()
        else:
            self._timer = self._loop.call_later(STATUS_TIMEOUT, self._finish)

    def _finish(self) -> None:
        while self._receive():
            pass  # the last heartbeat and the Bye frame are still in the socket
        self._close()
        status = self._exit_status
        self._report(Exited(self._exit_code if status is None else status))

    def _close(self) -> None:
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._close_status()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _close_status(self) -> None:
        if self._status_fd is not None:
            self._loop.remove_reader(self._status_fd)
            os.close(self._status_fd)
            self._status_fd = None


@contextlib.contextmanager
def _own_pidfd() -> Iterator[list[int]]:
    """Open a pidfd of this process for the worker to watch, where the system has pidfds."""
    if sys.platform != "linux":
        yield []
        return
    fd = os.pidfd_open(os.getpid())
    try:
        yield [fd]
    finally:
        os.close(fd)
