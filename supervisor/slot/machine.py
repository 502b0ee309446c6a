"""The state machine of a slot: one worker's place in the fleet, which outlives its processes.

Events come from the process (it was forked, it reported, it exited), from the operator (stop,
replace) and from the clock (a tick when the deadline has passed). The machine returns actions and
performs none. A stop escalates: drain, SIGTERM, SIGKILL, each with its own deadline, so that no
wait is unbounded. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias, assert_never

from supervisor.slot.events import (
    Abandon,
    CompleteReplacement,
    DrainBegun,
    Exited,
    Fail,
    Finish,
    HeartbeatReceived,
    Hung,
    ProtocolViolation,
    Released,
    ReplacementRequested,
    ScheduleRestart,
    SendDrain,
    SendDump,
    SendKill,
    SendStart,
    SendTerm,
    Spawn,
    Spawned,
    SpawnFailed,
    StopRequested,
    Tick,
)
from supervisor.slot.hang import Limits
from supervisor.slot.recycling import Lifespan
from supervisor.slot.restart import (
    ExitClass,
    GiveUp,
    LeaveEnded,
    Restart,
    RestartHistory,
    RestartPolicy,
    classify,
    decide,
)

if TYPE_CHECKING:
    from supervisor.slot.events import Action, Event


class SlotState(Enum):
    """The state of a slot. The value is a metric label and part of /status."""

    BACKING_OFF = "backing_off"
    """There is no process; the next one starts at the deadline, or when the slot is released."""
    STARTING = "starting"
    """A process was requested and has no assignment yet."""
    ASSIGNED = "assigned"
    """The worker has an assignment, or its pinned partitions; no record is in flight."""
    PROCESSING = "processing"
    """Assigned, and records were handled since the last heartbeat or are in flight."""
    DRAINING = "draining"
    """The worker takes nothing new and is expected to exit."""
    GONE = "gone"
    """The slot has ended as requested; no process follows."""
    FAILED = "failed"
    """The slot has ended for good although it was wanted; no process follows."""


RUNNING = frozenset({SlotState.STARTING, SlotState.ASSIGNED, SlotState.PROCESSING})
"""States with a process that is meant to go on."""
READY = frozenset({SlotState.ASSIGNED, SlotState.PROCESSING})
"""States with an assignment."""
FINAL = frozenset({SlotState.GONE, SlotState.FAILED})
"""States that no process follows."""


class Escalation(Enum):
    """The last step that was taken to end the process."""

    NONE = 0
    DUMP = 1
    DRAIN = 2
    TERM = 3
    KILL = 4


@dataclass(frozen=True, slots=True)
class SlotPolicy:
    """The time-outs and limits of a slot.

    Attributes:
        restart: What follows the exit of a worker that is wanted.
        drain_timeout: Seconds from the drain command to SIGTERM.
        kill_delay: Seconds from SIGTERM to SIGKILL.
        dump_delay: Seconds for a worker that hangs to log its stacks, before the drain command.
        reap_timeout: Seconds from SIGKILL until a process that the kernel does not end
            (uninterruptible sleep) is abandoned.
        limits: When a living worker counts as hung.
        lifespan: When a process is recycled.
    """

    restart: RestartPolicy = field(default_factory=RestartPolicy)
    drain_timeout: float = 30.0
    kill_delay: float = 5.0
    dump_delay: float = 1.0
    reap_timeout: float = 10.0
    limits: Limits = field(default_factory=Limits)
    lifespan: Lifespan = field(default_factory=Lifespan)


@dataclass(frozen=True, slots=True)
class Slot:
    """What the state machine remembers of a slot. Times are monotonic seconds.

    Attributes:
        state: The state.
        since: When the slot entered that state.
        deadline: When a tick is due; None if none is.
        wanted: False once a stop was requested.
        escalation: The last step that was taken to end the current process.
        started: When the current, or the latest, process was requested.
        drain_began: When the current process began to drain; None before.
        history: What restart decisions remember.
        replacement_reason: Why the current process is being replaced; None if it is not.
        hang_reason: Why the current process counts as hung; None if it does not.
        hold: Whether the next process waits for `Released`.
    """

    state: SlotState
    since: float
    deadline: float | None
    wanted: bool = True
    escalation: Escalation = Escalation.NONE
    started: float | None = None
    drain_began: float | None = None
    history: RestartHistory = field(default_factory=RestartHistory)
    replacement_reason: ExitClass | None = None
    hang_reason: ExitClass | None = None
    hold: bool = False

    @classmethod
    def new(cls, now: float) -> Slot:
        """Make a slot whose first worker starts at its first tick."""
        return cls(SlotState.BACKING_OFF, since=now, deadline=now)

    @classmethod
    def held(cls, now: float) -> Slot:
        """Make a slot whose first worker starts when the slot is released."""
        return cls(SlotState.BACKING_OFF, since=now, deadline=None, hold=True)

    @property
    def killed(self) -> bool:
        """Whether the current, or the latest, process was sent SIGKILL."""
        return self.escalation is Escalation.KILL

    def to(self, state: SlotState, now: float, deadline: float | None = None) -> Slot:
        """Return the slot in another state; `since` is kept if the state is the same."""
        since = self.since if state is self.state else now
        return replace(self, state=state, since=since, deadline=deadline)


Transition: TypeAlias = "tuple[Slot, tuple[Action, ...]]"
"""The next state, and the actions to perform, in order."""


def step(slot: Slot, event: Event, now: float, policy: SlotPolicy) -> Transition:
    """Take one event; return the slot's next state and the actions to perform, in order."""
    if slot.state in FINAL:
        return _step_ended(slot, event, now), ()
    match event:
        case Tick():
            return _tick(slot, now, policy)
        case StopRequested() | ReplacementRequested() | Released():
            return _requested(slot, event, now, policy=policy)
        case SpawnFailed() | Exited():
            return _process_ended(slot, event, now, policy=policy)
        case Spawned() | HeartbeatReceived() | DrainBegun() | ProtocolViolation() | Hung():
            return _reported(slot, event, now, policy=policy)
        case _:
            assert_never(event)


# Time


def _tick(slot: Slot, now: float, policy: SlotPolicy) -> Transition:
    if slot.deadline is None or now < slot.deadline:
        return slot, ()
    if slot.state is SlotState.BACKING_OFF:
        return replace(slot, started=now).to(SlotState.STARTING, now), (Spawn(),)
    return _escalate(slot, now, policy)


def _escalate(slot: Slot, now: float, policy: SlotPolicy) -> Transition:
    match slot.escalation:
        case Escalation.NONE:
            return slot, ()
        case Escalation.DUMP:
            deadline = now + policy.drain_timeout
            return replace(slot, escalation=Escalation.DRAIN, deadline=deadline), (SendDrain(),)
        case Escalation.DRAIN:
            deadline = now + policy.kill_delay
            return replace(slot, escalation=Escalation.TERM, deadline=deadline), (SendTerm(),)
        case Escalation.TERM:
            return _kill(slot, now, policy)
        case Escalation.KILL:
            return _abandon(slot, now)
        case _:
            assert_never(slot.escalation)


def _abandon(slot: Slot, now: float) -> Transition:
    if not slot.wanted:
        return slot.to(SlotState.GONE, now), (Abandon(), Finish(ExitClass.KILLED))
    # A successor would share its group.instance.id with a process that may still live, so this
    # slot must not be started again either.
    fail = Fail(ExitClass.KILLED, "the kernel does not end it, even by SIGKILL")
    return replace(slot, wanted=False).to(SlotState.FAILED, now), (Abandon(), fail)


# Requests


def _requested(
    slot: Slot,
    event: StopRequested | ReplacementRequested | Released,
    now: float,
    *,
    policy: SlotPolicy,
) -> Transition:
    match event:
        case StopRequested():
            return _stop(slot, event, now, policy=policy)
        case ReplacementRequested():
            return _replace(slot, event, now, policy=policy)
        case Released():
            return _release(slot, now), ()
        case _:
            assert_never(event)


def _stop(slot: Slot, event: StopRequested, now: float, *, policy: SlotPolicy) -> Transition:
    slot = replace(slot, wanted=False)
    if slot.state is SlotState.BACKING_OFF:
        return slot.to(SlotState.GONE, now), (Finish(ExitClass.DONE),)
    if event.now:
        return _kill(slot, now, policy)
    if slot.state in RUNNING:
        return _drain(slot, now, policy), (SendDrain(),)
    return slot, ()


def _replace(
    slot: Slot, event: ReplacementRequested, now: float, *, policy: SlotPolicy
) -> Transition:
    if slot.state is SlotState.BACKING_OFF:
        return _start_over(slot, now, hold=event.hold), ()
    slot = replace(slot, replacement_reason=event.reason, hold=event.hold)
    if slot.state in RUNNING:
        return _drain(slot, now, policy), (SendDrain(),)
    return slot, ()  # it drains already, and its successor is the replacement


def _release(slot: Slot, now: float) -> Slot:
    if not slot.hold:
        return slot
    released = replace(slot, hold=False)
    if slot.state is SlotState.BACKING_OFF:
        return released.to(slot.state, now, deadline=now)
    return released


def _step_ended(slot: Slot, event: Event, now: float) -> Slot:
    """Take an event in a final state: only a requested replacement starts the slot again."""
    match event:
        case StopRequested():
            return replace(slot, wanted=False)
        case ReplacementRequested(_, hold) if slot.wanted:
            return _start_over(slot, now, hold=hold)
        case _:
            return slot


def _start_over(slot: Slot, now: float, *, hold: bool) -> Slot:
    """Start the next process at once, or when the slot is released, with an empty history."""
    cleared = replace(
        slot,
        history=RestartHistory(),
        escalation=Escalation.NONE,
        drain_began=None,
        hold=hold,
    )
    return cleared.to(SlotState.BACKING_OFF, now, deadline=None if hold else now)


# Reports of the process


def _reported(
    slot: Slot,
    event: Spawned | HeartbeatReceived | DrainBegun | ProtocolViolation | Hung,
    now: float,
    *,
    policy: SlotPolicy,
) -> Transition:
    match event:
        case Spawned():
            return slot, ((SendStart(),) if slot.state is SlotState.STARTING else ())
        case HeartbeatReceived():
            return _beat(slot, event, now), ()
        case DrainBegun():
            return (_drain(slot, now, policy) if slot.state in RUNNING else slot), ()
        case ProtocolViolation():
            return _kill(slot, now, policy)
        case Hung():
            return _hung(slot, event, now, policy=policy)
        case _:
            assert_never(event)


def _beat(slot: Slot, event: HeartbeatReceived, now: float) -> Slot:
    if slot.state not in RUNNING:
        return slot
    if not event.joined:
        return slot.to(SlotState.STARTING, now)
    return slot.to(SlotState.PROCESSING if event.busy else SlotState.ASSIGNED, now)


def _hung(slot: Slot, event: Hung, now: float, *, policy: SlotPolicy) -> Transition:
    if slot.state not in RUNNING:
        return slot, ()
    hung = replace(slot, hang_reason=event.reason, escalation=Escalation.DUMP, drain_began=now)
    return hung.to(SlotState.DRAINING, now, deadline=now + policy.dump_delay), (SendDump(),)


def _drain(slot: Slot, now: float, policy: SlotPolicy) -> Slot:
    draining = replace(slot, escalation=Escalation.DRAIN, drain_began=now)
    return draining.to(SlotState.DRAINING, now, deadline=now + policy.drain_timeout)


def _kill(slot: Slot, now: float, policy: SlotPolicy) -> Transition:
    if slot.state is SlotState.BACKING_OFF or slot.escalation is Escalation.KILL:
        return slot, ()
    drain_began = now if slot.drain_began is None else slot.drain_began
    killed = replace(slot, escalation=Escalation.KILL, drain_began=drain_began)
    return killed.to(SlotState.DRAINING, now, deadline=now + policy.reap_timeout), (SendKill(),)


# The end of the process


def _process_ended(
    slot: Slot, event: SpawnFailed | Exited, now: float, *, policy: SlotPolicy
) -> Transition:
    if slot.state is SlotState.BACKING_OFF:
        return slot, ()
    reason = _exit_class(slot, event)
    replacement = _replacement_reason(slot)
    slot = replace(slot, replacement_reason=None, hang_reason=None)
    if not slot.wanted:
        return slot.to(SlotState.GONE, now), (Finish(reason),)
    if replacement is not None:
        return _complete_replacement(slot, replacement, now)
    return _restart(slot, reason, event.random, now=now, policy=policy)


def _replacement_reason(slot: Slot) -> ExitClass | None:
    """Return the reason to count a replacement under; a hang counts more than the request."""
    if slot.replacement_reason is None:
        return None
    return slot.hang_reason or slot.replacement_reason


def _complete_replacement(slot: Slot, reason: ExitClass, now: float) -> Transition:
    seconds = 0.0 if slot.drain_began is None else now - slot.drain_began
    renewed = replace(slot, escalation=Escalation.NONE, drain_began=None)
    deadline = None if slot.hold else now
    completed = CompleteReplacement(reason, seconds)
    return renewed.to(SlotState.BACKING_OFF, now, deadline), (completed,)


def _restart(
    slot: Slot, reason: ExitClass, random: float, *, now: float, policy: SlotPolicy
) -> Transition:
    uptime = 0.0 if slot.started is None else now - slot.started
    decision = decide(policy.restart, slot.history, reason, uptime=uptime, now=now, random=random)
    match decision:
        case Restart(delay, history):
            waiting = replace(slot, history=history, escalation=Escalation.NONE, drain_began=None)
            restart = ScheduleRestart(reason, delay)
            return waiting.to(SlotState.BACKING_OFF, now, deadline=now + delay), (restart,)
        case GiveUp(why):
            return slot.to(SlotState.FAILED, now), (Fail(reason, why),)
        case LeaveEnded():
            return slot.to(SlotState.GONE, now), (Finish(reason),)
        case _:
            assert_never(decision)


def _exit_class(slot: Slot, event: SpawnFailed | Exited) -> ExitClass:
    if isinstance(event, SpawnFailed):
        return ExitClass.SPAWN
    if slot.hang_reason is not None:
        return slot.hang_reason
    if event.out_of_memory:
        return ExitClass.OUT_OF_MEMORY
    return classify(
        event.status, killed_by_us=slot.escalation in {Escalation.TERM, Escalation.KILL}
    )
