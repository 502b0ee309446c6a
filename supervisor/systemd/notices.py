"""What to tell the service manager, and when: the content of sd_notify's datagrams. Pure.

The rules are those of sd_notify(3), sd_watchdog_enabled(3) and systemd.service(5). A notice counts
as sent only when the socket has taken its datagram. While the socket is full, the next turn decides
again: READY=1 cannot get lost, and nothing outdated is sent late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.instrumentation.snapshot import Snapshot

STATUS_INTERVAL = 1.0
"""Seconds between two STATUS= lines, at least."""
EXTENSION = 30.0
"""Seconds that a drain asks for after progress, until it makes progress again."""
EXTENSION_INTERVAL = 1.0
"""Seconds between two EXTEND_TIMEOUT_USEC= lines, at least."""
CLOSING = 10.0
"""Seconds that the process may need after its last worker, to wait for the fork server's end."""
_MICROSECONDS = 1_000_000


Progress = tuple[int, int]
"""Number of records settled, and of workers ended."""


@dataclass(frozen=True, slots=True)
class ManagerState:
    """What the service manager has been told.

    Attributes:
        ready: Whether the start is over (READY=1 was sent).
        stopping: Whether the stop has begun (STOPPING=1 was sent).
        reloads: Number of reloads that it knows of, or need not know of.
        reloading: Whether it waits for the end of a reload.
        status: The latest status text.
        status_at: When the text was sent (monotonic seconds).
        alive_at: When WATCHDOG=1 was sent.
        progress: Progress of the drain when its time was last extended, or at its beginning.
        extended_at: When its time was last extended.
    """

    ready: bool = False
    stopping: bool = False
    reloads: int = 0
    reloading: bool = False
    status: str = ""
    status_at: float = -inf
    alive_at: float = -inf
    progress: Progress = (0, 0)
    extended_at: float = -inf


Notices = tuple[ManagerState, list[str]]
"""What the service manager knows once it has these lines, and the lines."""


def notice(
    state: ManagerState, fleet: Snapshot, watchdog: float | None = None
) -> tuple[ManagerState, str] | None:
    """Return the datagram that is due, and what the service manager knows once it has it.

    Call it again after each datagram that was sent, until it returns None: the end of a reload
    that took less than a turn follows its beginning.

    Args:
        state: What the service manager knows.
        fleet: The fleet now.
        watchdog: Seconds without WATCHDOG=1 after which the service manager acts; None if it
            does not watch.
    """
    lines: list[str] = []
    for part in (_phase, _extension, _status):
        state, more = part(state, fleet)
        lines += more
    state, more = _alive(state, fleet, watchdog)
    lines += more
    return (state, "\n".join(lines)) if lines else None


def status_text(fleet: Snapshot) -> str:
    """Make the line that `systemctl status` shows, of bounded length and without a secret."""
    if fleet.stopping:
        return f"stopping; workers ended: {fleet.ended} of {fleet.workers}"
    text = f"workers assigned: {fleet.assigned} of {fleet.workers}"
    counts = {
        "backing off": fleet.backing_off,
        "failed for good": fleet.failed,
        "ended": fleet.ended - fleet.failed,
    }
    text += "".join(f", {name}: {count}" for name, count in counts.items() if count)
    return f"reloading; {text}" if fleet.reloading else text


def _phase(state: ManagerState, fleet: Snapshot) -> Notices:
    """Send one of STOPPING, READY and RELOADING: only one of a datagram would count."""
    if state.stopping:
        return state, []
    if fleet.stopping:
        return replace(state, stopping=True, progress=_progress(fleet)), ["STOPPING=1"]
    if not state.ready:
        if not fleet.ready:
            return state, []
        # Earlier reloads belong to the start: the service manager does not wait for them.
        return replace(state, ready=True, reloads=fleet.reloads), ["READY=1"]
    return _reload(state, fleet)


def _reload(state: ManagerState, fleet: Snapshot) -> Notices:
    """Send the beginning of a reload, or its end."""
    if state.reloading:
        if fleet.reloading and fleet.reloads == state.reloads:
            return state, []
        # Even if not every worker is assigned: it is the reload that is over.
        return replace(state, reloading=False), ["READY=1"]
    if fleet.reloads == state.reloads:
        return state, []
    # With Type=notify-reload, systemd 253 and later compares this time with that of its request.
    since = f"MONOTONIC_USEC={int(fleet.at * _MICROSECONDS)}"
    return replace(state, reloads=fleet.reloads, reloading=True), ["RELOADING=1", since]


def _extension(state: ManagerState, fleet: Snapshot) -> Notices:
    """Ask for more time for a drain that has made progress since the last time.

    systemd takes it as a lower bound, so it never shortens TimeoutStopSec=. It never extends
    beyond the moment when the supervisor has killed every worker that is left.
    """
    if fleet.drain_deadline is None or fleet.at - state.extended_at < EXTENSION_INTERVAL:
        return state, []
    progress = _progress(fleet)
    seconds = min(EXTENSION, fleet.drain_deadline + CLOSING - fleet.at)
    # Fewer is progress, too: a worker that a reload removed has ended and is no longer counted.
    if progress == state.progress or seconds <= 0:
        return state, []
    line = f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}"
    return replace(state, progress=progress, extended_at=fleet.at), [line]


def _progress(fleet: Snapshot) -> Progress:
    return fleet.settled, fleet.ended


def _status(state: ManagerState, fleet: Snapshot) -> Notices:
    """Send the status text if it has changed."""
    text = status_text(fleet)
    if text == state.status or fleet.at - state.status_at < STATUS_INTERVAL:
        return state, []
    return replace(state, status=text, status_at=fleet.at), [f"STATUS={text}"]


def _alive(state: ManagerState, fleet: Snapshot, watchdog: float | None) -> Notices:
    """Send WATCHDOG=1 after half of the watchdog's time."""
    if watchdog is None or fleet.at - state.alive_at < watchdog / 2:
        return state, []
    return replace(state, alive_at=fleet.at), ["WATCHDOG=1"]
