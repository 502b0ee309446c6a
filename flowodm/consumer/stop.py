"""Ask a loop to stop, with a switch that a signal handler may press."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flowodm.events import EndReason

if TYPE_CHECKING:
    import socket

_SIGNALS_READ = 64


class StopSwitch:
    """Whether and how urgently a loop should stop.

    Pressing it takes no lock: a signal handler runs in the middle of whatever the main thread
    does, a lock that this thread holds included. The poller looks at it several times a second.

    Args:
        drain_timeout: Seconds that handlers get to finish.
        paused: Whether nothing is to be fetched or started; may be set at any time.

    Attributes:
        signals: Readable when a signal has come (``signal.set_wakeup_fd``); None: nobody knows.
    """

    def __init__(self, drain_timeout: float, *, paused: bool = False) -> None:
        self.paused = paused
        self._drain_timeout = drain_timeout
        self._deadline: float | None = None
        self._pressed_at: float | None = None
        self.reason = EndReason.STOP
        self.urgent = False
        self.signals: socket.socket | None = None

    def signal_arrived(self) -> bool:
        """Return whether a signal came since the last call, to whatever thread."""
        signals = self.signals
        if signals is None:
            return False
        try:
            return bool(signals.recv(_SIGNALS_READ))
        except OSError:  # none came; or the main thread has just closed it
            return False

    @property
    def pressed(self) -> bool:
        """Whether the loop was asked to stop."""
        return self._deadline is not None

    @property
    def deadline(self) -> float:
        """When the drain has to end, in monotonic seconds; infinite before the request."""
        return float("inf") if self._deadline is None else self._deadline

    @property
    def pressed_for(self) -> float:
        """Seconds since the request; 0 before it."""
        return 0.0 if self._pressed_at is None else time.monotonic() - self._pressed_at

    def capped(self, seconds: float) -> float:
        """Cap `seconds` by the drain deadline."""
        return max(min(seconds, self.deadline - time.monotonic()), 0.0)

    def press(self, *, now: bool = False, reason: EndReason = EndReason.STOP) -> None:
        """Ask the loop to stop, or not to wait for its handlers any longer.

        Args:
            now: Do not wait.
            reason: Why; that of the first request is kept.
        """
        moment = time.monotonic()
        if self._pressed_at is None:
            self._pressed_at, self.reason = moment, reason
        if now:
            self.urgent = True
            self._deadline = min(self.deadline, moment)  # asked again, it is no later
        elif self._deadline is None:
            self._deadline = moment + self._drain_timeout
