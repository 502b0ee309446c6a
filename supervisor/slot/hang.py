"""Whether a worker that lives still does its work: three detectors. Pure.

Silence, a handler past its limit, and a partition that stands still although there is more to
handle. All times are times of attention: what passes while the supervisor itself, or the whole
machine, stands still does not count, as no worker could have been heard meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from supervisor.slot.restart import ExitClass

if TYPE_CHECKING:
    from collections.abc import Mapping

STEP = 2.0
"""Seconds between two looks beyond which the supervisor itself was away: its main loop looks once
a second at least."""
ABSENCE = 0.5
"""Seconds that such an absence counts, however long it was. Not none: a main loop that is always
late should be late to notice, and not blind."""
STARTUP = 300.0
"""Seconds of silence that a worker is granted, if its limit is shorter, until it is assigned for
the first time: the user's modules may keep the interpreter's lock while they are imported."""

Place = tuple[str, int, int]
"""Topic, partition, and the offset at which it stands."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may do for how long, in seconds. 0: for ever.

    Attributes:
        silence: Send no heartbeat; there is one a second.
        handler: Be at one record.
        stall: Leave a partition where it stands, although there is more to handle and nothing
            of it is in hand.
    """

    silence: float = 30.0
    handler: float = 0.0
    stall: float = 300.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What there is to see of a worker.

    Attributes:
        process: The number of its process within the slot.
        beat: What tells its latest heartbeat from the others; None before the first.
        joined: Whether it was assigned then.
        handler_seconds: How long its oldest running handler had been running then.
        behind: Partitions that stood still then without a visible reason.
    """

    process: int
    beat: float | None = None
    joined: bool = False
    handler_seconds: float = 0.0
    behind: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class HangWatch:
    """What is remembered of a worker between two looks.

    Attributes:
        process: Whose memory this is.
        beat: The latest heartbeat that was seen.
        heard: When that was.
        settled: Whether it has been assigned before.
        handling_since: When its oldest running handler began; None if none runs.
        behind: Since when each place has been stood at.
    """

    process: int
    heard: float
    beat: float | None = None
    settled: bool = False
    handling_since: float | None = None
    behind: Mapping[Place, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hang:
    """A worker lives and does not do its work.

    Attributes:
        reason: What its end is counted under.
        why: The same in words.
        deaf: Whether it cannot be expected to take commands.
    """

    reason: ExitClass
    why: str
    deaf: bool = False


class AttentionClock:
    """A clock that stands still while its owner does."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds = 0.0

    def at(self, now: float) -> float:
        """Seconds of attention by now (monotonic seconds); to be asked once a second."""
        if self._last is not None:
            gap = max(now - self._last, 0.0)
            self._seconds += gap if gap <= STEP else ABSENCE
        self._last = now
        return self._seconds


def detect_hang(
    watch: HangWatch | None, sight: Observation, limits: Limits, at: float
) -> tuple[HangWatch, Hang | None]:
    """Look at a worker that is meant to run.

    Args:
        watch: What was remembered at the last look; None at the first.
        sight: What there is to see.
        limits: What it may do for how long.
        at: Seconds of attention by now, see `AttentionClock`.
    """
    if watch is None or watch.process != sight.process:
        watch = HangWatch(sight.process, heard=at)
    if sight.beat is None or sight.beat == watch.beat:
        return watch, _silent(watch, limits, at)
    began = None
    if sight.handler_seconds > 0:
        began = at - sight.handler_seconds
        # A later one's beginning is later, so the clocks differ by a pause of the machine.
        began = began if watch.handling_since is None else max(began, watch.handling_since)
    watch = HangWatch(
        sight.process,
        heard=at,
        beat=sight.beat,
        settled=watch.settled or sight.joined,
        handling_since=began,
        behind={place: watch.behind.get(place, at) for place in sight.behind},
    )
    return watch, _overdue(watch, limits, at) or _stalled(watch, limits, at)


def _silent(watch: HangWatch, limits: Limits, at: float) -> Hang | None:
    limit = limits.silence if watch.settled else max(limits.silence, STARTUP)
    if not limits.silence or at - watch.heard <= limit:
        return None
    return Hang(ExitClass.HUNG, f"no heartbeat for {at - watch.heard:.3g} s", deaf=True)


def _overdue(watch: HangWatch, limits: Limits, at: float) -> Hang | None:
    if not limits.handler or watch.handling_since is None:
        return None
    seconds = at - watch.handling_since
    if seconds <= limits.handler:
        return None
    why = f"a handler has been running for {seconds:.3g} s; its limit is {limits.handler:g} s"
    return Hang(ExitClass.HUNG, why)


def _stalled(watch: HangWatch, limits: Limits, at: float) -> Hang | None:
    if not limits.stall or not watch.behind:
        return None
    (topic, partition, offset), since = min(watch.behind.items(), key=lambda item: item[1])
    if at - since <= limits.stall:
        return None
    why = (
        f"{topic}/{partition} has stood at offset {offset} for {at - since:.3g} s although there "
        "is more, or nobody polls, and nothing of it is in hand"
    )
    return Hang(ExitClass.STALLED, why)
