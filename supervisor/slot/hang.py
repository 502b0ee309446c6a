"""Detects that a living worker does not do its work. Pure.

There are three detectors: no heartbeat, a handler past its limit, and a partition that does not
advance although it has more records. All times are seconds of attention: time that passes while
the supervisor itself or the whole machine is suspended does not count, as no heartbeat could
arrive meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from supervisor.slot.restart import ExitClass

if TYPE_CHECKING:
    from collections.abc import Mapping

STEP = 2.0
"""Seconds between two looks beyond which the supervisor itself was suspended: its main loop looks
at least once a second."""
ABSENCE = 0.5
"""Seconds that a longer pause between two looks counts. Not 0: if the main loop is always late,
hangs should be noticed late, not never."""
STARTUP = 300.0
"""Seconds without a heartbeat that a worker may take until its first assignment, if its limit is
shorter: the user's modules may hold the interpreter's lock while they are imported."""

Place = tuple[str, int, int]
"""Topic, partition, and the offset of the next record."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a living worker counts as hung, in seconds. 0: never.

    Attributes:
        silence: Time without a heartbeat; a worker sends one a second.
        handler: Time that a handler takes for one record.
        stall: Time that a partition does not advance although it has more records, none of
            which is in flight or waits for a retry.
    """

    silence: float = 30.0
    handler: float = 0.0
    stall: float = 300.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What is visible of a worker now.

    Attributes:
        process: The number of its process within the slot.
        beat: Identifies its latest heartbeat; None before the first.
        joined: Whether it had an assignment then.
        handler_seconds: How long its oldest running handler had been running then.
        behind: Partitions that did not advance then, without a visible reason.
    """

    process: int
    beat: float | None = None
    joined: bool = False
    handler_seconds: float = 0.0
    behind: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class HangWatch:
    """What the detectors remember of a worker between two looks. Times are seconds of attention.

    Attributes:
        process: The number of its process within the slot.
        heard: When the latest heartbeat was seen, or the process was first seen.
        beat: Identifies that heartbeat.
        settled: Whether it has had an assignment before.
        handling_since: When its oldest running handler began; None if none runs.
        behind: Since when each partition has not advanced.
    """

    process: int
    heard: float
    beat: float | None = None
    settled: bool = False
    handling_since: float | None = None
    behind: Mapping[Place, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hang:
    """A living worker does not do its work.

    Attributes:
        reason: The reason to count its end under.
        why: The same in words.
        deaf: Whether it probably reads no commands either.
    """

    reason: ExitClass
    why: str
    deaf: bool = False


class AttentionClock:
    """A clock that stops while the process that reads it is suspended."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds = 0.0

    def at(self, now: float) -> float:
        """Return the seconds of attention by now (monotonic seconds). Call it once a second."""
        if self._last is not None:
            pause = max(now - self._last, 0.0)
            self._seconds += pause if pause <= STEP else ABSENCE
        self._last = now
        return self._seconds


def detect_hang(
    watch: HangWatch | None, observation: Observation, limits: Limits, at: float
) -> tuple[HangWatch, Hang | None]:
    """Look at a worker that is meant to run.

    Args:
        watch: What was remembered at the last look; None at the first.
        observation: What is visible now.
        limits: When it counts as hung.
        at: Seconds of attention by now, see `AttentionClock`.

    Returns:
        What to remember for the next look, and the hang if there is one.
    """
    if watch is None or watch.process != observation.process:
        watch = HangWatch(observation.process, heard=at)
    if observation.beat is None or observation.beat == watch.beat:
        return watch, _silent(watch, limits, at)
    watch = HangWatch(
        observation.process,
        heard=at,
        beat=observation.beat,
        settled=watch.settled or observation.joined,
        handling_since=_handling_since(watch, observation, at),
        behind={place: watch.behind.get(place, at) for place in observation.behind},
    )
    return watch, _handler_overdue(watch, limits, at) or _stalled(watch, limits, at)


def _handling_since(watch: HangWatch, observation: Observation, at: float) -> float | None:
    if observation.handler_seconds <= 0:
        return None
    since = at - observation.handler_seconds
    if watch.handling_since is None:
        return since
    # The worker's clock also counts a suspension of the machine, which puts `since` too early.
    # A later handler began later than the one before, so the later of the two is right.
    return max(since, watch.handling_since)


def _silent(watch: HangWatch, limits: Limits, at: float) -> Hang | None:
    limit = limits.silence if watch.settled else max(limits.silence, STARTUP)
    seconds = at - watch.heard
    if not limits.silence or seconds <= limit:
        return None
    return Hang(ExitClass.HUNG, f"no heartbeat for {seconds:.3g} s", deaf=True)


def _handler_overdue(watch: HangWatch, limits: Limits, at: float) -> Hang | None:
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
    seconds = at - since
    if seconds <= limits.stall:
        return None
    why = (
        f"{topic}/{partition} has stood at offset {offset} for {seconds:.3g} s although there are "
        "more records, or nobody polls, and none of them is in flight"
    )
    return Hang(ExitClass.STALLED, why)
