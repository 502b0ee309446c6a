"""The worker's end of the pipe, and the thread that serves it while the loop runs.

The thread takes commands, sends heartbeats, and watches the supervisor: the end of the pipe,
or of the supervisor's process (another process may hold a copy of the pipe), means that nobody
is left to restart or to kill this worker, so it drains and ends by itself.
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
from typing import TYPE_CHECKING, Protocol

from supervisor import logs
from supervisor.protocol import (
    Abort,
    AskGroup,
    Bye,
    Decoder,
    Drain,
    Dump,
    Frame,
    Hello,
    Pause,
    ProtocolError,
    Resume,
    Stage,
    Start,
    encode,
)
from supervisor.slot.restart import ExitCode

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from supervisor.protocol import Heartbeat

HEARTBEAT_INTERVAL = 1.0
"""Seconds between heartbeats."""
SEND_TIMEOUT = 30.0
"""Seconds for which the supervisor may not read before it counts as gone."""
_RECEIVE = 64 * 1024

log = logging.getLogger("supervisor.worker")


class Stoppable(Protocol):
    """What the control thread needs of a consumer loop."""

    def stop(self, now: bool = False) -> None:
        """End; without waiting for handlers if `now`. Safe in a signal handler."""

    def pause(self) -> None:
        """Begin nothing new."""

    def resume(self) -> None:
        """Go on."""

    def ask_group(self) -> None:
        """Ask the consumer group for what has changed."""


class SupervisorLostError(Exception):
    """The supervisor has closed the pipe, is dead, or writes what is no frame."""


class Channel:
    """Frames to and from the supervisor.

    Args:
        pipe: The worker's end of the socket pair.
        supervisor: A pidfd of the supervisor's process, where there is such a thing.
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
        """Wait for the first frame, and leave those that came with it for `receive`.

        Raises:
            SupervisorLostError: There will be none.
        """
        while not (frames := self.receive(None)):
            pass
        self._arrived = frames[1:]
        return frames[0]

    def send(self, frame: Frame) -> None:
        """Send a frame; nothing is sent if the supervisor is gone.

        If it does not read for `SEND_TIMEOUT`, it counts as gone, and `receive` says so.
        """
        with self._lock:
            if self._broken:
                return
            try:
                self._pipe.sendall(encode(frame))
            except OSError:  # half a frame may have gone out: nothing may follow it
                self._broken = True
                self.wake()

    def wake(self) -> None:
        """Make `receive` return early. Safe in a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"!")

    def receive(self, timeout: float | None) -> list[Frame]:
        """Wait for frames and take them; none if the time is up or somebody called `wake`.

        Raises:
            SupervisorLostError: Nothing will come any more, or nothing can be sent; raised
                once, after which only `wake` and the time-out end a wait.
        """
        if self._arrived:
            frames, self._arrived = self._arrived, []
            return frames
        ready = {fd for fd, _ in self._poll.poll(None if timeout is None else timeout * 1000)}
        if self._wake_r in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_r, _RECEIVE)
        if self._broken and self._lifelines:
            self._give_up()
            raise SupervisorLostError("a frame could not be sent: it is dead or does not read")
        if self._pipe.fileno() in ready and (data := self._read()):
            try:
                return list(self._decoder.feed(data))
            except ProtocolError as error:
                self._give_up()
                raise SupervisorLostError(str(error)) from None
        if ready & self._lifelines:
            self._give_up()
            raise SupervisorLostError("its end of the pipe is closed, or its process has ended")
        return []

    def _read(self) -> bytes:
        try:
            return self._pipe.recv(_RECEIVE)
        except OSError:
            return b""

    def _give_up(self) -> None:
        """From now on only `wake` ends a wait."""
        self._broken = True
        for fd in self._lifelines:
            self._poll.unregister(fd)
        self._lifelines = set()


class Control:
    """Serves the channel in a thread of its own from `start` to `finish`.

    Args:
        channel: The way to the supervisor.
        heartbeat: Makes the heartbeat of this moment.
        drain_timeout: Seconds that the worker may go on once the supervisor is gone.
    """

    def __init__(
        self, channel: Channel, heartbeat: Callable[[], Heartbeat], drain_timeout: float
    ) -> None:
        self.stopping = False
        """Somebody asked this worker to end."""
        self.pinned: Start | None = None
        """The second Start, of a worker that counts its partitions first."""
        self._now = False
        self._channel = channel
        self._heartbeat = heartbeat
        self._drain_timeout = drain_timeout
        self._loop: Stoppable | None = None
        self._paused = False
        self._draining = False
        self._said_draining = False
        self._finished = False
        self._orphaned_at: float | None = None
        self._drain_ends = math.inf
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._channel.send(Hello(os.getpid()))
        self._thread.start()

    def attach(self, loop: Stoppable) -> None:
        """Hand over the loop that stop commands are for, those that came already included."""
        if self._paused:
            loop.pause()
        self._loop = loop
        if self.stopping:
            loop.stop(now=self._now)

    def stop(self, *, now: bool = False) -> None:
        """Make the loop end; a second call does not wait for handlers. For signal handlers too."""
        self._now = self._now or now or self.stopping
        if not self.stopping:
            self._drain_ends = time.monotonic() + self._drain_timeout
        self.stopping = True
        if self._loop is not None:
            self._loop.stop(now=self._now)
        self._channel.wake()

    @property
    def left(self) -> float:
        """Seconds until the drain should be over; infinite if nobody has asked for one."""
        return self._drain_ends - time.monotonic()

    def drains(self) -> None:
        """Have the supervisor told that the loop drains, also when nobody asked it to."""
        self._draining = True
        self._channel.wake()

    def wake(self) -> None:
        """Have a heartbeat sent now."""
        self._channel.wake()

    def finish(self, code: int) -> None:
        """Stop serving, send the last heartbeat and the farewell."""
        self._finished = True
        self._channel.wake()
        self._thread.join(SEND_TIMEOUT)
        self._beat()
        self._channel.send(Bye(code))

    def _serve(self) -> None:
        next_beat = time.monotonic()
        while not self._finished:
            due = next_beat if self._orphaned_at is None else self._orphaned_at
            for frame in self._receive(max(0.0, due - time.monotonic())):
                self._obey(frame)
            if (self.stopping or self._draining) and not self._said_draining:
                self._said_draining = True
                self._channel.send(Stage("draining"))
            if self._orphaned_at is None:
                self._beat()  # also when woken: then an assignment has changed
                next_beat = time.monotonic() + HEARTBEAT_INTERVAL
            elif time.monotonic() >= self._orphaned_at:
                log.error("the drain deadline passed; ending with handlers still running")
                logs.flush()
                os._exit(ExitCode.ORPHANED)

    def _beat(self) -> None:
        try:
            self._channel.send(self._heartbeat())
        except Exception:
            # This thread is what ends the worker when its supervisor is gone: it stays.
            log.exception("a heartbeat could not be made")

    def _receive(self, timeout: float) -> list[Frame]:
        try:
            return self._channel.receive(timeout)
        except SupervisorLostError as error:
            log.warning("the supervisor is gone; draining", extra={"why": str(error)})
            self._orphaned_at = time.monotonic() + self._drain_timeout
            if not self.stopping:
                self.stop()
            return []

    def _hold(self, *, paused: bool) -> None:
        self._paused = paused
        if self._loop is not None:
            (self._loop.pause if paused else self._loop.resume)()

    def _obey(self, frame: Frame) -> None:
        if isinstance(frame, Drain):
            if not self.stopping:
                self.stop()
        elif isinstance(frame, Abort):
            self.stop(now=True)
        elif isinstance(frame, Pause | Resume):
            self._hold(paused=isinstance(frame, Pause))
        elif isinstance(frame, AskGroup):
            if self._loop is not None:
                self._loop.ask_group()
        elif isinstance(frame, Start):
            self.pinned = frame
        elif isinstance(frame, Dump):
            log.error("the supervisor takes this worker for hung", extra={"stacks": stacks()})
        else:
            log.warning("a frame that is no command was ignored", extra={"frame": frame.type})


def stacks() -> dict[str, str]:
    """The stack of every Python thread, by its name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, '?')} ({ident})": "".join(traceback.format_stack(frame))
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - documented, if not public
    }
