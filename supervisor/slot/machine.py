"""One worker's place in the fleet: a state machine that outlives the processes in it.

Events come from the process (it was forked, it reported, it ended), from the operator (stop)
and from the clock (a tick when the deadline is due). The machine answers with actions and
never acts itself. The way of a stop is drain, then SIGTERM, then SIGKILL, each with its own
deadline, so that no wait is without an end.
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
    """Where a slot is. The value is a metric label and what /status says."""

    BACKING_OFF = "backing_off"
    """No process; the next one starts at the deadline."""
    STARTING = "starting"
    """A process was asked for, and has no assignment yet."""
    ASSIGNED = "assigned"
    """Its consumer has joined its group, or holds its pinned partitions; no record in hand."""
    PROCESSING = "processing"
    """Assigned, and records were handled since the last heartbeat, or are in hand."""
    DRAINING = "draining"
    """It takes nothing new and is expected to end."""
    GONE = "gone"
    """It ended as it should; nothing follows."""
    FAILED = "failed"
    """It ended for good although it was wanted; nothing follows."""


RUNNING = frozenset({SlotState.STARTING, SlotState.ASSIGNED, SlotState.PROCESSING})
READY = frozenset({SlotState.ASSIGNED, SlotState.PROCESSING})
FINAL = frozenset({SlotState.GONE, SlotState.FAILED})


class Escalation(Enum):
    """What has been done so far to make the process end."""

    NONE = 0
    DUMP = 1
    DRAIN = 2
    TERM = 3
    KILL = 4


@dataclass(frozen=True, slots=True)
class SlotPolicy:
    """How long a slot waits for what.

    Attributes:
        restart: What follows the end of a worker that is wanted.
        drain_timeout: Seconds from the drain command to SIGTERM.
        kill_delay: Seconds from SIGTERM to SIGKILL.
        dump_delay: Seconds that a worker which hangs gets to write its stacks, before the drain.
        reap_timeout: Seconds from SIGKILL until a process that the kernel does not give up
            (uninterruptible sleep) is left behind.
        limits: What a worker may do for how long before it counts as hanging.
        lifespan: How much a process may become before it is replaced.
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
    """A slot's state.

    Attributes:
        state: Where the slot is.
        since: When it got there (monotonic seconds).
        deadline: When the next tick matters; None if none does.
        wanted: False once it was told to stop.
        escalation: What has been done to end the current process.
        started: When the current, or the latest, process was asked for.
        drain_began: When the current process began to drain; None while it does not.
        history: What restart decisions remember.
        replacement_reason: Why the current process is being replaced as planned, if it is.
        hang_reason: What is wrong with the current process although it lives, if something is.
        hold: The next process waits for `Released`.
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
        """A slot whose first worker starts at its first tick."""
        return cls(SlotState.BACKING_OFF, since=now, deadline=now)

    @classmethod
    def held(cls, now: float) -> Slot:
        """A slot whose first worker starts when it is released."""
        return cls(SlotState.BACKING_OFF, since=now, deadline=None, hold=True)

    @property
    def killed(self) -> bool:
        """Whether the current, or the latest, process was sent SIGKILL."""
        return self.escalation is Escalation.KILL

    def to(self, state: SlotState, now: float, deadline: float | None = None) -> Slot:
        """The slot in another state; `since` stays if the state is the same."""
        since = self.since if state is self.state else now
        return replace(self, state=state, since=since, deadline=deadline)


Transition: TypeAlias = "tuple[Slot, tuple[Action, ...]]"


def step(slot: Slot, event: Event, now: float, policy: SlotPolicy) -> Transition:
    """Take one event: the slot's next state, and what has to be done, in order."""
    if slot.state in FINAL:
        return _after_the_end(slot, event, now), ()
    match event:
        case Tick():
            return _tick(slot, now, policy)
        case StopRequested() | ReplacementRequested() | Released():
            return _asked(slot, event, now, policy)
        case SpawnFailed() | Exited():
            return _ended(slot, event, now, policy)
        case Spawned() | HeartbeatReceived() | DrainBegun() | ProtocolViolation() | Hung():
            return _reported(slot, event, now, policy)
        case _:
            assert_never(event)


def _asked(
    slot: Slot,
    event: StopRequested | ReplacementRequested | Released,
    now: float,
    policy: SlotPolicy,
) -> Transition:
    match event:
        case StopRequested():
            return _stop(slot, event, now, policy)
        case ReplacementRequested():
            return _replace(slot, event, now, policy)
        case Released():
            return _release(slot, now), ()
        case _:
            assert_never(event)


def _reported(
    slot: Slot,
    event: Spawned | HeartbeatReceived | DrainBegun | ProtocolViolation | Hung,
    now: float,
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
            return _hung(slot, event, now, policy)
        case _:
            assert_never(event)


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
            if not slot.wanted:
                return slot.to(SlotState.GONE, now), (Abandon(), Finish(ExitClass.KILLED))
            # A successor would share its group.instance.id with a process that may still live.
            fail = Fail(ExitClass.KILLED, "the kernel does not end it, even by SIGKILL")
            slot = replace(slot, wanted=False)  # nor may anybody revive this slot
            return slot.to(SlotState.FAILED, now), (Abandon(), fail)
        case _:
            assert_never(slot.escalation)


def _beat(slot: Slot, event: HeartbeatReceived, now: float) -> Slot:
    if slot.state not in RUNNING:
        return slot
    if not event.joined:
        return slot.to(SlotState.STARTING, now)
    return slot.to(SlotState.PROCESSING if event.busy else SlotState.ASSIGNED, now)


def _drain(slot: Slot, now: float, policy: SlotPolicy) -> Slot:
    draining = replace(slot, escalation=Escalation.DRAIN, drain_began=now)
    return draining.to(SlotState.DRAINING, now, now + policy.drain_timeout)


def _kill(slot: Slot, now: float, policy: SlotPolicy) -> Transition:
    if slot.state is SlotState.BACKING_OFF or slot.escalation is Escalation.KILL:
        return slot, ()
    drain_began = now if slot.drain_began is None else slot.drain_began
    killed = replace(slot, escalation=Escalation.KILL, drain_began=drain_began)
    return killed.to(SlotState.DRAINING, now, now + policy.reap_timeout), (SendKill(),)


def _after_the_end(slot: Slot, event: Event, now: float) -> Slot:
    """A slot that had ended, for good or well, is tried again if the operator asks for it."""
    match event:
        case StopRequested():
            return replace(slot, wanted=False)
        case ReplacementRequested(_, hold) if slot.wanted:
            return _afresh(slot, now, hold=hold)
        case _:
            return slot


def _afresh(slot: Slot, now: float, *, hold: bool) -> Slot:
    fresh = replace(
        slot, history=RestartHistory(), escalation=Escalation.NONE, drain_began=None, hold=hold
    )
    return fresh.to(SlotState.BACKING_OFF, now, None if hold else now)


def _replace(slot: Slot, event: ReplacementRequested, now: float, policy: SlotPolicy) -> Transition:
    if slot.state is SlotState.BACKING_OFF:
        return _afresh(slot, now, hold=event.hold), ()
    slot = replace(slot, replacement_reason=event.reason, hold=event.hold)
    if slot.state in RUNNING:
        return _drain(slot, now, policy), (SendDrain(),)
    return slot, ()  # it ends already; its successor is the one that is wanted


def _release(slot: Slot, now: float) -> Slot:
    if not slot.hold:
        return slot
    released = replace(slot, hold=False)
    return released.to(slot.state, now, now) if slot.state is SlotState.BACKING_OFF else released


def _hung(slot: Slot, event: Hung, now: float, policy: SlotPolicy) -> Transition:
    if slot.state not in RUNNING:
        return slot, ()
    hung = replace(slot, hang_reason=event.reason, escalation=Escalation.DUMP, drain_began=now)
    return hung.to(SlotState.DRAINING, now, now + policy.dump_delay), (SendDump(),)


def _stop(slot: Slot, event: StopRequested, now: float, policy: SlotPolicy) -> Transition:
    slot = replace(slot, wanted=False)
    if slot.state is SlotState.BACKING_OFF:
        return slot.to(SlotState.GONE, now), (Finish(ExitClass.DONE),)
    if event.now:
        return _kill(slot, now, policy)
    if slot.state in RUNNING:
        return _drain(slot, now, policy), (SendDrain(),)
    return slot, ()


def _ended(slot: Slot, event: SpawnFailed | Exited, now: float, policy: SlotPolicy) -> Transition:
    if slot.state is SlotState.BACKING_OFF:
        return slot, ()
    reason = _reason(slot, event)
    replacement_reason = (slot.replacement_reason and slot.hang_reason) or slot.replacement_reason
    slot = replace(slot, replacement_reason=None, hang_reason=None)
    if not slot.wanted:
        return slot.to(SlotState.GONE, now), (Finish(reason),)
    if replacement_reason is not None:
        seconds = 0.0 if slot.drain_began is None else now - slot.drain_began
        renewed = replace(slot, escalation=Escalation.NONE, drain_began=None)
        deadline = None if slot.hold else now
        return renewed.to(SlotState.BACKING_OFF, now, deadline), (
            CompleteReplacement(replacement_reason, seconds),
        )
    uptime = 0.0 if slot.started is None else now - slot.started
    decision = decide(
        policy.restart, slot.history, reason, uptime=uptime, now=now, random=event.random
    )
    match decision:
        case Restart(delay, history):
            waiting = replace(slot, history=history, escalation=Escalation.NONE, drain_began=None)
            return waiting.to(SlotState.BACKING_OFF, now, now + delay), (
                ScheduleRestart(reason, delay),
            )
        case GiveUp(why):
            return slot.to(SlotState.FAILED, now), (Fail(reason, why),)
        case LeaveEnded():
            return slot.to(SlotState.GONE, now), (Finish(reason),)
        case _:
            assert_never(decision)


def _reason(slot: Slot, event: SpawnFailed | Exited) -> ExitClass:
    if isinstance(event, SpawnFailed):
        return ExitClass.SPAWN
    if slot.hang_reason is not None:
        return slot.hang_reason
    if event.out_of_memory:
        return ExitClass.OUT_OF_MEMORY
    return classify(
        event.status, killed_by_us=slot.escalation in {Escalation.TERM, Escalation.KILL}
    )
