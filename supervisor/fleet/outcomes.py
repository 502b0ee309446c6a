"""How workers ended: the outcome of a slot, failures of workers, and the log of the latest ones."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from supervisor.slot.restart import ExitClass, ExitCode

KEPT = 50
"""Number of failures that are kept."""
MESSAGE_LENGTH = 2000
"""Characters of a message that the log keeps; a worker may send any text."""


@dataclass(frozen=True, slots=True)
class SlotOutcome:
    """How the last worker of a slot ended: a line of the drain report.

    Attributes:
        consumer: The consumer's name.
        slot: The slot's number.
        pid: The last worker's process; None if none was ever forked.
        reason: Why it ended.
        seconds: From the start of its drain to its end; 0 if it did not drain.
        left: Records that it had fetched and did not finish, by its last heartbeat.
        killed: Whether it was sent SIGKILL.
        failed: Whether the slot failed for good while it was wanted.
    """

    consumer: str
    slot: int
    pid: int | None
    reason: ExitClass
    seconds: float
    left: int
    killed: bool
    failed: bool

    @property
    def clean(self) -> bool:
        """Whether it finished what it had begun and ended by itself."""
        return self.reason is ExitClass.DONE and not self.killed and not self.failed


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """A worker that ended otherwise than by a clean drain.

    Attributes:
        consumer: The consumer's name.
        slot: The slot's number.
        pid: The process; None if none was forked.
        reason: The class of its end.
        message: The reason in words, from the worker or from its exit status.
        at: When, in seconds since the epoch; for display, never for deadlines.
        consequence: What the supervisor did next, in words.
    """

    consumer: str
    slot: int
    pid: int | None
    reason: ExitClass
    message: str
    at: float
    consequence: str


class FailureLog:
    """The latest `KEPT` failures of a fleet's workers."""

    def __init__(self) -> None:
        self.latest: tuple[WorkerFailure, ...] = ()
        """Oldest first; replaced, never changed in place, so that any thread may read it."""

    def add(self, failure: WorkerFailure) -> None:
        """Append a failure, and drop the oldest one if there are too many."""
        if len(failure.message) > MESSAGE_LENGTH:
            failure = replace(failure, message=failure.message[: MESSAGE_LENGTH - 1] + "…")
        self.latest = (*self.latest[1 - KEPT :], failure)


def describe_exit(status: int | None, *, killed: bool = False, out_of_memory: bool = False) -> str:
    """Describe an exit status in words.

    Args:
        status: As in `supervisor.slot.restart.classify`.
        killed: Whether the supervisor sent SIGKILL.
        out_of_memory: Whether the kernel's out-of-memory killer has just killed a process.
    """
    if out_of_memory:
        return (
            "killed by the kernel, which had no memory left for it: give the fleet more, or set "
            "max_rss to recycle workers in time"
        )
    if killed and status in {None, -signal.SIGKILL}:
        return "killed by the supervisor"
    if status is None:
        return "its exit status is unknown: the fork server was dead"
    if status == -signal.SIGKILL:
        return "ended by SIGKILL, which this supervisor did not send"
    if status < 0:
        return f"ended by {_signal_name(-status)}"
    names = {code.value: f" ({code.name.lower()})" for code in ExitCode}
    return f"exit code {status}{names.get(status, '')}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
