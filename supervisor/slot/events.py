"""What happens to a slot, and what it answers: the words of the state machine in `slot`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.slot.restart import ExitClass

# Events


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """The fork server made the process; its death can be observed from now on."""


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """No process came to be."""

    random: float


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A heartbeat: whether the worker is assigned, and whether records move."""

    joined: bool
    busy: bool


@dataclass(frozen=True, slots=True)
class DrainBegun:
    """The worker says that it drains, has failed or ends; perhaps somebody sent it SIGTERM."""


@dataclass(frozen=True, slots=True)
class ProtocolViolation:
    """The worker wrote something that is no frame: it cannot be relied on any more."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The slot is not wanted any more.

    Attributes:
        now: Kill instead of draining.
    """

    now: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    """The process's death is confirmed.

    Attributes:
        status: Its exit code, minus the signal's number, or None if nobody can tell.
        random: A value in [0, 1) for the restart's jitter.
        out_of_memory: Whether the kernel killed it for want of memory.
    """

    status: int | None
    random: float
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class ReplacementRequested:
    """Another process takes the place of this one, which has done nothing wrong.

    Attributes:
        reason: What it is counted under.
        hold: The successor waits for `Released`: what this slot has may be another one's then.
    """

    reason: ExitClass
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A slot that holds may start its process."""


@dataclass(frozen=True, slots=True)
class Hung:
    """The process lives and does not do its work.

    Attributes:
        reason: What its end will be counted under.
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
    """Ask the fork server for a process."""


@dataclass(frozen=True, slots=True)
class SendStart:
    """Tell the process what to run. Until then it does nothing and holds no membership."""


@dataclass(frozen=True, slots=True)
class SendDrain:
    """Ask the worker to finish what it has and end."""


@dataclass(frozen=True, slots=True)
class SendDump:
    """Have the worker write the stack of each of its threads to the log."""


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
    """Another process follows in `delay` seconds; count the restart under `reason`."""

    reason: ExitClass
    delay: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The slot has failed for good."""

    reason: ExitClass
    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The slot is gone as it should be."""

    reason: ExitClass


@dataclass(frozen=True, slots=True)
class CompleteReplacement:
    """The process was replaced as planned; the next one starts now, or when it is released.

    Attributes:
        reason: What it is counted under.
        seconds: How long the old one took to end.
    """

    reason: ExitClass
    seconds: float


ProcessAction = SendStart | SendDump | SendDrain | SendTerm | SendKill | Abandon
Action = Spawn | ProcessAction | ScheduleRestart | Fail | Finish | CompleteReplacement
