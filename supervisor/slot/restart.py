"""Whether a worker that ended is started again, and when: a pure function of its history.

The shape is OTP's restart intensity (at most so many restarts in such a window) with an
exponential, jittered delay on top, so that neither a broken worker nor a broken dependency
is hammered, and a herd of workers does not come back in step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import assert_never


class ExitCode(IntEnum):
    """The exit codes of a worker process. The numbers are those of sysexits.h where one fits."""

    DONE = 0
    """The loop was stopped and everything it had begun is settled and committed."""
    RECORD = 65
    """A record failed for good and the consumer's on_failure is "stop" (EX_DATAERR)."""
    ORPHANED = 69
    """The supervisor is gone, and the drain deadline passed (EX_UNAVAILABLE)."""
    CRASH = 70
    """Anything else that was raised (EX_SOFTWARE)."""
    OUT_OF_MEMORY = 71
    """MemoryError reached the loop (EX_OSERR)."""
    FENCED = 75
    """Another member holds this one's group.instance.id (EX_TEMPFAIL)."""
    ABANDONED = 76
    """The drain deadline passed with handlers still running; their records are not committed."""
    CONFIGURATION = 78
    """The same start would fail again: a wrong import, option or signature (EX_CONFIG)."""


class ExitClass(Enum):
    """Why a worker ended, as far as it decides what happens next. The value is a metric label."""

    DONE = "done"
    RECORD = "record"
    CONFIGURATION = "configuration"
    FENCED = "fenced"
    CRASH = "crash"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    ABANDONED = "abandoned"
    KILLED = "killed"
    SPAWN = "spawn"
    """The system gave no process. Tried again for ever: it says nothing about the worker."""
    UNKNOWN = "unknown"
    HUNG = "hung"
    """It did not answer, or a handler ran past its limit."""
    STALLED = "stalled"
    """Its partitions lagged and nothing moved."""
    RESTARTED = "restarted"
    """Somebody asked for a new process."""
    RELOADED = "reloaded"
    """Its configuration changed."""
    RECYCLED = "recycled"
    """It had reached its largest age, number of records or size."""


class RestartMode(Enum):
    """Which ends of a worker are followed by a start."""

    ALWAYS = "always"
    """Every end but a configuration error: a consumer is meant to run for ever."""
    ON_FAILURE = "on_failure"
    """Every end but a configuration error and a clean one."""
    NEVER = "never"
    """None."""


_BY_CODE: dict[int, ExitClass] = {
    ExitCode.DONE: ExitClass.DONE,
    ExitCode.RECORD: ExitClass.RECORD,
    ExitCode.OUT_OF_MEMORY: ExitClass.OUT_OF_MEMORY,
    ExitCode.FENCED: ExitClass.FENCED,
    ExitCode.ABANDONED: ExitClass.ABANDONED,
    ExitCode.ORPHANED: ExitClass.ABANDONED,
    ExitCode.CONFIGURATION: ExitClass.CONFIGURATION,
}


def classify(status: int | None, *, killed_by_us: bool = False) -> ExitClass:
    """Name the reason of an exit status.

    Args:
        status: The exit code; minus the signal's number if a signal ended the process; None
            if nobody could tell (the fork server that had to reap it was dead itself).
        killed_by_us: Whether the supervisor had sent SIGTERM or SIGKILL.
    """
    if status is None:
        return ExitClass.KILLED if killed_by_us else ExitClass.UNKNOWN
    if status < 0:
        return ExitClass.KILLED if killed_by_us else ExitClass.SIGNAL
    return _BY_CODE.get(status, ExitClass.CRASH)


_PASSING = frozenset({ExitClass.SPAWN, ExitClass.FENCED})
"""Ends that say nothing of the worker and do not count: what the system refuses now, it may grant
later, and whoever holds the group.instance.id may leave. It waits its turn, ever longer."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a slot's next worker starts, and when the slot is given up.

    Attributes:
        mode: Which ends are followed by a start at all.
        initial: Seconds before the first restart.
        factor: What each further restart in a row multiplies the delay with.
        cap: The longest delay, in seconds; jitter never exceeds it.
        jitter: The share of the delay by which it varies, up and down: 0.2 is ±20 %.
        limit: Failures within `window` that are tolerated; the next one is the last.
            0: no limit. A worker that could not be made, or was fenced, has not failed.
        window: Seconds over which failures are counted.
        stable: Seconds of uptime after which the delay starts from `initial` again.
    """

    mode: RestartMode = RestartMode.ALWAYS
    initial: float = 0.1
    factor: float = 2.0
    cap: float = 30.0
    jitter: float = 0.2
    limit: int = 10
    window: float = 300.0
    stable: float = 60.0

    def delay(self, streak: int, random: float) -> float:
        """Seconds before the restart that follows `streak` others in a row.

        Args:
            streak: Restarts since the last stable run; 0 for the first.
            random: A value in [0, 1) that decides where in the jitter's range the delay is.
        """
        delay = self.initial
        for _ in range(streak):  # a power would overflow a float on a streak of a few thousand
            if delay >= self.cap:
                break
            delay *= self.factor
        return min(self.cap, min(self.cap, delay) * (1 + self.jitter * (2 * random - 1)))


@dataclass(frozen=True, slots=True)
class RestartHistory:
    """What restart decisions remember of a slot.

    Attributes:
        streak: Restarts since the last stable run.
        ends: When (monotonic seconds) its workers ended, no further back than the window.
    """

    streak: int = 0
    ends: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the next worker in `delay` seconds; `history` replaces the slot's."""

    delay: float
    history: RestartHistory


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The slot has failed for good; `why` says it in words."""

    why: str


@dataclass(frozen=True, slots=True)
class LeaveEnded:
    """The worker ended well and its policy asks for no other."""


Decision = Restart | GiveUp | LeaveEnded


def decide(
    policy: RestartPolicy,
    history: RestartHistory,
    ended: ExitClass,
    *,
    uptime: float,
    now: float,
    random: float,
) -> Decision:
    """Decide what follows a worker's unwanted end.

    Args:
        policy: The consumer's restart policy.
        history: The slot's history before this end.
        ended: Why the worker ended.
        uptime: Seconds since its process was asked for.
        now: Monotonic seconds.
        random: A value in [0, 1) for the jitter.
    """
    if ended is ExitClass.CONFIGURATION:
        return GiveUp("its configuration is wrong; it would fail in the same way again")
    match policy.mode:
        case RestartMode.ALWAYS:
            pass
        case RestartMode.ON_FAILURE:
            if ended is ExitClass.DONE:
                return LeaveEnded()
        case RestartMode.NEVER:
            return LeaveEnded() if ended is ExitClass.DONE else GiveUp('restart policy is "never"')
        case _:
            assert_never(policy.mode)
    ends = tuple(end for end in history.ends if now - end < policy.window)
    if ended not in _PASSING:
        ends = (*ends, now)
    if policy.limit and len(ends) > policy.limit:
        return GiveUp(f"it ended {len(ends)} times within {policy.window:g} s")
    streak = 0 if uptime >= policy.stable else history.streak
    return Restart(policy.delay(streak, random), RestartHistory(streak + 1, ends))
