"""The worker's end of the pipe to the supervisor, and the thread that serves it.

The thread takes commands, sends heartbeats, and watches the supervisor. If the pipe or the
supervisor's process ends (another process may have a copy of the pipe), nobody is left to
restart or kill this worker, so it drains and exits by itself.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Protocol, assert_never

from supervisor import logs
from supervisor.protocol import (
    Abort,
    AskGroup,
    Bye,
    Counted,
    Decoder,
    Drain,
    Dump,
    Frame,
    Heartbeat,
    Hello,
    Pause,
    ProtocolError,
    Resume,
    Start,
    WorkerFailed,
    WorkerStage,
    encode,
)
from supervisor.slot.restart import ExitCode

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

HEARTBEAT_INTERVAL = 1.0
"""Seconds between heartbeats."""
SEND_TIMEOUT = 30.0
"""Seconds without reading after which the supervisor counts as lost."""
_RECEIVE = 64 * 1024
"""Bytes that are read at once."""

_log = logging.getLogger("supervisor.worker")


class Stoppable(Protocol):
    """What the control thread needs of a consumer loop."""

    def stop(self, now: bool = False) -> None:
        """Stop; if `now`, without waiting for handlers. Safe in a signal handler."""

    def pause(self) -> None:
        """Stop fetching and start no handler."""

    def resume(self) -> None:
        """Fetch and handle again."""

    def ask_group(self) -> None:
        """Ask the consumer group for a new assignment at once."""


class SupervisorLostError(Exception):
    """The supervisor has closed the pipe, is dead, or violates the protocol."""


class Channel:
    """Sends frames to the supervisor, and receives its frames.

    Args:
        pipe: The worker's end of the socket pair.
        supervisor: A pidfd of the supervisor's process, where the system has pidfds.
    """

    def __init__(self, pipe: socket.socket, supervisor: int | None) -> None:
        pipe.settimeout(SEND_TIMEOUT)
        self._pipe = pipe
        self._decoder = Decoder()
        self._arrived: list[Frame] = []
        self._lock = threading.Lock()
        self._broken = False
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._poll = select.poll()
        self._lifelines = {pipe.fileno()} | ({supervisor} if supervisor is not None else set())
        for fd in (self._wake_r, *self._lifelines):
            self._poll.register(fd, select.POLLIN)

    def first(self) -> Frame:
        """Wait for the first frame; frames that came with it are left for `receive`.

        Raises:
            SupervisorLostError: There will be none.
        """
        while not (frames := self.receive(None)):
            pass
        self._arrived = frames[1:]
        return frames[0]

    def send(self, frame: Frame) -> None:
        """Send a frame; drop it if the supervisor is lost.

        If the supervisor does not read for `SEND_TIMEOUT`, it counts as lost, and `receive`
        raises.
        """
        with self._lock:
            if self._broken:
                return
            try:
                self._pipe.sendall(encode(frame))
            except OSError:  # half a frame may have been sent: nothing may follow it
                self._broken = True
                self.wake()

    def wake(self) -> None:
        """Make `receive` return early. Safe in a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"!")

    def receive(self, timeout: float | None) -> list[Frame]:
        """Wait for frames and return them; return none after `timeout` seconds or `wake`.

        Raises:
            SupervisorLostError: No frame will come, or none can be sent. Raised once; after that
                only `wake` and the time-out end a wait.
        """
        if self._arrived:
            frames, self._arrived = self._arrived, []
            return frames
        ready = self._wait(timeout)
        if self._broken and self._lifelines:
            raise self._lost("a frame could not be sent: it is dead or does not read")
        data = self._read() if self._pipe.fileno() in ready else b""
        if data:
            return self._decode(data)
        if ready & self._lifelines:
            raise self._lost("its end of the pipe is closed, or its process has ended")
        return []

    def _wait(self, timeout: float | None) -> set[int]:
        """Return the file descriptors that are readable, after `timeout` seconds at most."""
        milliseconds = None if timeout is None else timeout * 1000
        ready = {fd for fd, _ in self._poll.poll(milliseconds)}
        if self._wake_r in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_r, _RECEIVE)
        return ready

    def _read(self) -> bytes:
        try:
            return self._pipe.recv(_RECEIVE)
        except OSError:
            return b""

    def _decode(self, data: bytes) -> list[Frame]:
        try:
            return list(self._decoder.feed(data))
        except ProtocolError as error:
            raise self._lost(str(error)) from None

    def _lost(self, why: str) -> SupervisorLostError:
        """Stop watching the supervisor, so that only `wake` ends a wait; return the error."""
        self._broken = True
        for fd in self._lifelines:
            self._poll.unregister(fd)
        self._lifelines = set()
        return SupervisorLostError(why)


class Control:
    """Serves the channel in a thread of its own, from `start` to `finish`.

    Args:
        channel: The frames from and to the supervisor.
        heartbeat: Makes a heartbeat of the current state.
        drain_timeout: Seconds that the worker may drain once the supervisor is lost.

    Attributes:
        stopping: Whether this worker was told to stop.
        pinned: The second Start frame, of a worker that counts its topic's partitions first.
    """

    def __init__(
        self, channel: Channel, heartbeat: Callable[[], Heartbeat], drain_timeout: float
    ) -> None:
        self.stopping = False
        self.pinned: Start | None = None
        self._now = False
        self._channel = channel
        self._heartbeat = heartbeat
        self._drain_timeout = drain_timeout
        self._loop: Stoppable | None = None
        self._paused = False
        self._draining = False
        self._draining_reported = False
        self._finished = False
        self._exit_at: float | None = None  # set once the supervisor is lost
        self._drain_ends = math.inf
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._channel.send(Hello(os.getpid()))
        self._thread.start()

    def attach(self, loop: Stoppable) -> None:
        """Pass commands on to this loop, including those that came before."""
        if self._paused:
            loop.pause()
        self._loop = loop
        if self.stopping:
            loop.stop(now=self._now)

    def stop(self, *, now: bool = False) -> None:
        """Stop the loop; a second call does not wait for handlers. Safe in a signal handler."""
        self._now = self._now or now or self.stopping
        if not self.stopping:
            self._drain_ends = time.monotonic() + self._drain_timeout
        self.stopping = True
        if self._loop is not None:
            self._loop.stop(now=self._now)
        self._channel.wake()

    @property
    def left(self) -> float:
        """Seconds until the drain deadline; infinite if no stop was requested."""
        return self._drain_ends - time.monotonic()

    def drains(self) -> None:
        """Report to the supervisor that the loop drains, for whatever reason."""
        self._draining = True
        self._channel.wake()

    def wake(self) -> None:
        """Send a heartbeat now."""
        self._channel.wake()

    def finish(self, code: int) -> None:
        """Stop serving; send the last heartbeat and the Bye frame."""
        self._finished = True
        self._channel.wake()
        self._thread.join(SEND_TIMEOUT)
        self._beat()
        self._channel.send(Bye(code))

    def _serve(self) -> None:
        next_beat = time.monotonic()
        while not self._finished:
            due = next_beat if self._exit_at is None else self._exit_at
            for frame in self._receive(max(0.0, due - time.monotonic())):
                self._handle(frame)
            self._report_draining()
            if self._exit_at is None:
                self._beat()  # also when woken: then the assignment has changed
                next_beat = time.monotonic() + HEARTBEAT_INTERVAL
            elif time.monotonic() >= self._exit_at:
                _log.error("the drain deadline passed; exiting while handlers still run")
                logs.flush()
                os._exit(ExitCode.ORPHANED)

    def _report_draining(self) -> None:
        if (self.stopping or self._draining) and not self._draining_reported:
            self._draining_reported = True
            self._channel.send(WorkerStage("draining"))

    def _beat(self) -> None:
        try:
            self._channel.send(self._heartbeat())
        except Exception:  # noqa: BLE001 - this thread must go on, to end an orphaned worker
            _log.exception("the heartbeat failed")

    def _receive(self, timeout: float) -> list[Frame]:
        try:
            return self._channel.receive(timeout)
        except SupervisorLostError as error:
            _log.warning("the supervisor is gone; draining", extra={"why": str(error)})
            self._exit_at = time.monotonic() + self._drain_timeout
            if not self.stopping:
                self.stop()
            return []

    def _handle(self, frame: Frame) -> None:
        match frame:
            case Drain():
                if not self.stopping:
                    self.stop()
            case Abort():
                self.stop(now=True)
            case Pause() | Resume():
                self._pause(paused=isinstance(frame, Pause))
            case AskGroup():
                if self._loop is not None:
                    self._loop.ask_group()
            case Start():
                self.pinned = frame
            case Dump():
                stacks = {"stacks": thread_stacks()}
                _log.error("the supervisor considers this worker hung", extra=stacks)
            case Hello() | WorkerStage() | Heartbeat() | Counted() | WorkerFailed() | Bye():
                _log.warning("ignored a frame that is no command", extra={"frame": frame.type})
            case _:
                assert_never(frame)

    def _pause(self, *, paused: bool) -> None:
        self._paused = paused
        if self._loop is None:
            return
        if paused:
            self._loop.pause()
        else:
            self._loop.resume()


def thread_stacks() -> dict[str, str]:
    """Format the stack of every Python thread, by its name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, '?')} ({ident})": "".join(traceback.format_stack(frame))
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - documented, if not public
    }
