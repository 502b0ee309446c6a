"""What the service manager is told, and when: the content of sd_notify's datagrams. Pure.

The rules are those of sd_notify(3), sd_watchdog_enabled(3) and systemd.service(5). A notice
counts as told only once its datagram was taken: as long as the socket is full, the next turn
decides again, so that READY=1 cannot get lost and nothing stale is sent late.
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
"""Seconds that a drain which has made progress asks for until its next progress."""
EXTENSION_INTERVAL = 1.0
"""Seconds between two EXTEND_TIMEOUT_USEC= lines, at least."""
CLOSING = 10.0
"""Seconds that the process may need after its last worker: the fork server's end is waited for."""
_MICROSECONDS = 1_000_000


Progress = tuple[int, int]
"""Records settled, workers ended."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the service manager knows.

    Attributes:
        ready: Whether the start is over (READY=1 was sent).
        stopping: Whether the end has begun.
        reloads: How many reloads it need not hear of any more.
        reloading: Whether it waits for the end of one.
        status: The latest status text.
        status_at: When that was sent (monotonic seconds).
        alive_at: When WATCHDOG=1 was sent.
        progress: How far the drain was when its time was last extended, or at its beginning.
        extended_at: When it was last extended.
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


Step = tuple[Told, list[str]]


def notice(told: Told, fleet: Snapshot, watchdog: float | None = None) -> tuple[Told, str] | None:
    """The datagram that is due, and what the service manager knows once it has it.

    Ask again after each that was taken, until None: the end of a reload that took less than a
    turn follows its beginning.

    Args:
        told: What the service manager knows.
        fleet: What there is to tell.
        watchdog: Seconds without WATCHDOG=1 after which the service manager acts; None if it
            does not watch.
    """
    lines: list[str] = []
    for step in (_phase, _extension, _status):
        told, more = step(told, fleet)
        lines += more
    told, more = _alive(told, fleet, watchdog)
    lines += more
    return (told, "\n".join(lines)) if lines else None


def status_text(fleet: Snapshot) -> str:
    """What `systemctl status` shows: one line, of bounded length, without a secret."""
    if fleet.stopping:
        return f"stopping; workers ended: {fleet.ended} of {fleet.workers}"
    text = f"workers assigned: {fleet.assigned} of {fleet.workers}"
    counts = {
        "backing off": fleet.backing_off,
        "failed for good": fleet.failed,
        "ended": fleet.ended - fleet.failed,
    }
    text += "".join(f", {what}: {count}" for what, count in counts.items() if count)
    return f"reloading; {text}" if fleet.reloading else text


def _phase(told: Told, fleet: Snapshot) -> Step:
    """At most one of STOPPING, READY and RELOADING: in one datagram only one would count."""
    if told.stopping:
        return told, []
    if fleet.stopping:
        return replace(told, stopping=True, progress=_progress(fleet)), ["STOPPING=1"]
    if not told.ready:
        if not fleet.ready:
            return told, []
        # Reloads before this belong to the start, and nobody waits for them.
        return replace(told, ready=True, reloads=fleet.reloads), ["READY=1"]
    return _reload(told, fleet)


def _reload(told: Told, fleet: Snapshot) -> Step:
    if told.reloading:
        if fleet.reloading and fleet.reloads == told.reloads:
            return told, []
        # Also where not every worker is assigned: what is over is the reload.
        return replace(told, reloading=False), ["READY=1"]
    if fleet.reloads == told.reloads:
        return told, []
    # systemd 253 and later, with Type=notify-reload, tells by the time whether this is the
    # reload that it asked for.
    since = f"MONOTONIC_USEC={int(fleet.at * _MICROSECONDS)}"
    return replace(told, reloads=fleet.reloads, reloading=True), ["RELOADING=1", since]


def _extension(told: Told, fleet: Snapshot) -> Step:
    """More time for a drain in which records were settled, or workers ended, since the last one.

    systemd takes it only as a lower bound, so TimeoutStopSec= is never shortened by it. It
    never reaches past the moment at which the supervisor has killed what is left.
    """
    if fleet.drain_deadline is None or fleet.at - told.extended_at < EXTENSION_INTERVAL:
        return told, []
    progress = _progress(fleet)
    seconds = min(EXTENSION, fleet.drain_deadline + CLOSING - fleet.at)
    # Also where it went down: a worker that a reload removed has ended, and is forgotten.
    if progress == told.progress or seconds <= 0:
        return told, []
    line = f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}"
    return replace(told, progress=progress, extended_at=fleet.at), [line]


def _progress(fleet: Snapshot) -> Progress:
    return fleet.settled, fleet.ended


def _status(told: Told, fleet: Snapshot) -> Step:
    text = status_text(fleet)
    if text == told.status or fleet.at - told.status_at < STATUS_INTERVAL:
        return told, []
    return replace(told, status=text, status_at=fleet.at), [f"STATUS={text}"]


def _alive(told: Told, fleet: Snapshot, watchdog: float | None) -> Step:
    if watchdog is None or fleet.at - told.alive_at < watchdog / 2:
        return told, []
    return replace(told, alive_at=fleet.at), ["WATCHDOG=1"]
