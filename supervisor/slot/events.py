"""The events that a slot's state machine takes, and the actions that it returns. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.slot.restart import ExitClass

# Events


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """The fork server has forked the process; its end can be observed from now on."""

    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """No process was forked.

    Attributes:
        message: Why.
        random: A value in [0, 1) for the restart's jitter; the default adds none.
    """

    message: str
    random: float = 0.5


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """The worker sent a heartbeat.

    Attributes:
        joined: Whether it has an assignment.
        busy: Whether records were handled since the last heartbeat, or are in flight.
    """

    joined: bool
    busy: bool


@dataclass(frozen=True, slots=True)
class DrainBegun:
    """The worker reports that it drains, has failed or exits, for example after a SIGTERM."""


@dataclass(frozen=True, slots=True)
class ProtocolViolation:
    """The process sent bytes that are no frame, or a frame that a worker must not send.

    Attributes:
        message: What is wrong with them.
    """

    message: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The operator stops the slot.

    Attributes:
        now: Kill instead of draining.
    """

    now: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    """The process has ended; its death is confirmed.

    Attributes:
        status: The exit code, minus the signal's number, or None if it is unknown.
        random: A value in [0, 1) for the restart's jitter; the default adds none.
        out_of_memory: Whether the kernel's out-of-memory killer ended it.
    """

    status: int | None
    random: float = 0.5
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class ReplacementRequested:
    """The operator, a reload or the recycling replaces the process.

    Attributes:
        reason: The reason to count the restart under.
        hold: The successor waits for `Released`: its partitions may still be another slot's.
    """

    reason: ExitClass
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A slot on hold may start its process."""


@dataclass(frozen=True, slots=True)
class Hung:
    """The process lives, but does not work.

    Attributes:
        reason: The reason to count its end under.
    """

    reason: ExitClass


Event = (
    Tick
    | Spawned
    | SpawnFailed
    | HeartbeatReceived
    | DrainBegun
    | ProtocolViolation
    | StopRequested
    | Exited
    | ReplacementRequested
    | Released
    | Hung
)


# Actions


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a process."""


@dataclass(frozen=True, slots=True)
class SendStart:
    """Tell the process what to run. Until then it is idle and no member of its group."""


@dataclass(frozen=True, slots=True)
class SendDrain:
    """Tell the worker to drain and exit."""


@dataclass(frozen=True, slots=True)
class SendDump:
    """Tell the worker to log the stack of each of its threads."""


@dataclass(frozen=True, slots=True)
class SendTerm:
    """Send SIGTERM."""


@dataclass(frozen=True, slots=True)
class SendKill:
    """Send SIGKILL."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop waiting for a process that SIGKILL did not end."""


@dataclass(frozen=True, slots=True)
class ScheduleRestart:
    """Count a restart under `reason`; the next process starts in `delay` seconds."""

    reason: ExitClass
    delay: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The slot has failed for good."""

    reason: ExitClass
    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The slot has ended as requested."""

    reason: ExitClass


@dataclass(frozen=True, slots=True)
class CompleteReplacement:
    """Count a planned replacement; the next process starts now, or when the slot is released.

    Attributes:
        reason: The reason to count it under.
        seconds: How long the old process took to end.
    """

    reason: ExitClass
    seconds: float


ProcessAction = SendStart | SendDump | SendDrain | SendTerm | SendKill | Abandon
Action = Spawn | ProcessAction | ScheduleRestart | Fail | Finish | CompleteReplacement
