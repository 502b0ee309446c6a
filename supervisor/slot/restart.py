"""Decides whether a worker that exited is started again, and when. Pure.

As OTP's restart intensity: at most N failures within a window. In addition each restart waits
for an exponential delay with jitter, so that a broken dependency is not flooded with requests
and many workers do not start at the same moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import assert_never


class ExitCode(IntEnum):
    """The exit codes of a worker process. The numbers are those of sysexits.h where one fits."""

    DONE = 0
    """The loop was stopped; everything that it had begun is settled and committed."""
    RECORD = 65
    """A record failed for good, and the consumer's on_failure is "stop" (EX_DATAERR)."""
    ORPHANED = 69
    """The supervisor was lost, and the drain deadline passed (EX_UNAVAILABLE)."""
    CRASH = 70
    """Another exception was raised (EX_SOFTWARE)."""
    OUT_OF_MEMORY = 71
    """The loop got a MemoryError (EX_OSERR)."""
    FENCED = 75
    """Another member has this one's group.instance.id (EX_TEMPFAIL)."""
    ABANDONED = 76
    """The drain deadline passed while handlers ran; their records are not committed."""
    CONFIGURATION = 78
    """A wrong import, option or signature: another start would fail too (EX_CONFIG)."""


class ExitClass(Enum):
    """Why a worker ended, or was replaced. The value is a metric label."""

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
    """No process could be forked. Tried again without limit: it is not the worker's fault."""
    UNKNOWN = "unknown"
    HUNG = "hung"
    """It sent no heartbeat, or a handler ran past its limit."""
    STALLED = "stalled"
    """A partition with lag did not advance."""
    RESTARTED = "restarted"
    """The operator requested a new process."""
    RELOADED = "reloaded"
    """Its configuration changed."""
    RECYCLED = "recycled"
    """It had reached its maximum age, number of records or memory."""


class RestartMode(Enum):
    """After which exits of a worker another one is started."""

    ALWAYS = "always"
    """After every exit but a configuration error."""
    ON_FAILURE = "on_failure"
    """After every exit but a configuration error and a clean one."""
    NEVER = "never"
    """After none."""


_BY_CODE: dict[int, ExitClass] = {
    ExitCode.DONE: ExitClass.DONE,
    ExitCode.RECORD: ExitClass.RECORD,
    ExitCode.OUT_OF_MEMORY: ExitClass.OUT_OF_MEMORY,
    ExitCode.FENCED: ExitClass.FENCED,
    ExitCode.ABANDONED: ExitClass.ABANDONED,
    ExitCode.ORPHANED: ExitClass.ABANDONED,
    ExitCode.CONFIGURATION: ExitClass.CONFIGURATION,
}
"""The class of each exit code; another code is a crash."""


def classify(status: int | None, *, killed_by_us: bool = False) -> ExitClass:
    """Classify an exit status.

    Args:
        status: The exit code; minus the signal's number if a signal ended the process; None
            if it is unknown (the fork server, which has to reap it, was dead).
        killed_by_us: Whether the supervisor sent SIGTERM or SIGKILL.
    """
    if status is None:
        return ExitClass.KILLED if killed_by_us else ExitClass.UNKNOWN
    if status < 0:
        return ExitClass.KILLED if killed_by_us else ExitClass.SIGNAL
    return _BY_CODE.get(status, ExitClass.CRASH)


_NOT_COUNTED = frozenset({ExitClass.SPAWN, ExitClass.FENCED})
"""Reasons that do not count against the limit, as the worker is not their cause: the system may
have a process later, and the other member with the same group.instance.id may leave."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a slot's next worker starts, and when the slot fails for good.

    Attributes:
        mode: After which exits another worker is started at all.
        initial: Seconds before the first restart.
        factor: Multiplies the delay with each further restart in a row.
        cap: The longest delay in seconds, jitter included.
        jitter: How far the delay varies up and down, as a share of it: 0.2 is ±20 %.
        limit: Failures within `window` that are tolerated; at the next one the slot fails for
            good. 0: no limit. Failed forks and fenced workers do not count.
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
        """Return the seconds until a restart.

        Args:
            streak: How many restarts came before it since the last stable run.
            random: A value in [0, 1) that places the delay within the jitter's range.
        """
        delay = self.initial
        for _ in range(streak):  # factor ** streak would overflow after a few thousand
            if delay >= self.cap:
                break
            delay *= self.factor
        return min(self.cap, min(self.cap, delay) * (1 + self.jitter * (2 * random - 1)))


@dataclass(frozen=True, slots=True)
class RestartHistory:
    """What restart decisions remember of a slot.

    Attributes:
        streak: Restarts since the last stable run.
        ends: When its workers ended (monotonic seconds), within the window.
    """

    streak: int = 0
    ends: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the next worker in `delay` seconds; `history` is the slot's new history."""

    delay: float
    history: RestartHistory


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Fail the slot for good; `why` is the reason in words."""

    why: str


@dataclass(frozen=True, slots=True)
class LeaveEnded:
    """Start no other worker: this one ended well, and the policy asks for none."""


Decision = Restart | GiveUp | LeaveEnded


def decide(
    policy: RestartPolicy,
    history: RestartHistory,
    reason: ExitClass,
    *,
    uptime: float,
    now: float,
    random: float,
) -> Decision:
    """Decide what follows the exit of a worker that is wanted.

    Args:
        policy: The consumer's restart policy.
        history: The slot's history before this exit.
        reason: Why the worker ended.
        uptime: Seconds since its process was requested.
        now: Monotonic seconds.
        random: A value in [0, 1) for the jitter.
    """
    decision = _decide_by_reason(policy.mode, reason)
    if decision is not None:
        return decision
    ends = tuple(end for end in history.ends if now - end < policy.window)
    if reason not in _NOT_COUNTED:
        ends = (*ends, now)
    if policy.limit and len(ends) > policy.limit:
        return GiveUp(f"it ended {len(ends)} times within {policy.window:g} s")
    streak = 0 if uptime >= policy.stable else history.streak
    return Restart(policy.delay(streak, random), RestartHistory(streak + 1, ends))


def _decide_by_reason(mode: RestartMode, reason: ExitClass) -> Decision | None:
    """Return the decision that the reason alone makes; None if the history decides."""
    if reason is ExitClass.CONFIGURATION:
        return GiveUp("its configuration is wrong; another start would fail too")
    match mode:
        case RestartMode.ALWAYS:
            return None
        case RestartMode.ON_FAILURE:
            return LeaveEnded() if reason is ExitClass.DONE else None
        case RestartMode.NEVER:
            if reason is ExitClass.DONE:
                return LeaveEnded()
            return GiveUp('restart policy is "never"')
        case _:
            assert_never(mode)
