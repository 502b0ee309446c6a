"""Runs all slots: feeds events to their state machines, and performs the actions they return."""

from __future__ import annotations

import logging
import random
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from supervisor.fleet.fold import Fold
from supervisor.fleet.group_removal import GroupRemovals
from supervisor.fleet.outcome_recorder import OutcomeRecorder
from supervisor.fleet.outcomes import describe_exit
from supervisor.fleet.state_log import StateLog
from supervisor.process.oom import OomKills
from supervisor.process.oom_counter import kill_counter
from supervisor.process.warm_up import WarmUp
from supervisor.process.worker_process import WorkerProcess
from supervisor.protocol import (
    Abort,
    AskGroup,
    Bye,
    Counted,
    Drain,
    Dump,
    Frame,
    Heartbeat,
    Hello,
    Pause,
    Resume,
    Start,
    WorkerFailed,
    WorkerStage,
)
from supervisor.slot.events import (
    Abandon,
    Action,
    CompleteReplacement,
    DrainBegun,
    Event,
    Exited,
    Fail,
    Finish,
    Hung,
    ProcessAction,
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
from supervisor.slot.machine import FINAL, READY, SlotState, step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.fleet.member import Member
    from supervisor.fleet.slot_spec import SlotKey
    from supervisor.process.fork_server import ForkServer
    from supervisor.process.worker_process import ProcessEvent
    from supervisor.slot.hang import Hang
    from supervisor.slot.restart import ExitClass

_log = logging.getLogger("supervisor")

WORKER_ENTRY = "supervisor.worker.main:main"
"""The entry of worker processes, unless a test has them run another one."""
_REASONS: dict[type[Event], str] = {
    StopRequested: "a stop was requested",
    ReplacementRequested: "it is replaced",
    Hung: "it hangs",
    DrainBegun: "it drains by itself",
    ProtocolViolation: "it violates the protocol",
}
"""Why an event changed a slot's state, in words, where the worker has reported no problem."""


def modules_to_preload(entry: str, preload: Sequence[str]) -> list[str]:
    """List the modules that the fork server imports before it forks workers."""
    return [entry.partition(":")[0], *preload] if entry == WORKER_ENTRY else list(preload)


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads restarts; nothing to guess


class Fleet:
    """The slots of all consumers.

    Args:
        members: The slots, in the configuration's order.
        server: The fork server that forks their processes.
        entry: The entry of each process, "module:function".
        post: Queues a process's event for the main loop, which passes it to `handle`.

    Attributes:
        members: The slots; replaced, never changed in place, so that any thread may read it.
        fold: The workers' metrics.
        states: The latest changes of state.
        failures: The latest failures of workers.
        drains: The histogram of drains.
    """

    def __init__(
        self,
        members: Sequence[Member],
        server: ForkServer,
        entry: str,
        post: Callable[[Member, ProcessEvent], None],
    ) -> None:
        self.members = tuple(members)
        self.fold = Fold()
        self.states = StateLog()
        self._server = server
        self._entry = entry
        self._post = post
        self._oom = OomKills(kill_counter())
        self._warm_up: WarmUp | None = None
        self._removals = GroupRemovals(server, self._ask_group) if entry == WORKER_ENTRY else None
        self._outcomes = OutcomeRecorder(self._removals)
        self.failures = self._outcomes.failures
        self.drains = self._outcomes.drains

    # Time and requests

    @property
    def finished(self) -> bool:
        """Whether every slot has ended for good."""
        return all(member.slot.state in FINAL for member in self.members)

    def next_deadline(self) -> float | None:
        """Return when `tick` is due next, in monotonic seconds; None if never."""
        deadlines = (member.slot.deadline for member in self.members)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def tick(self) -> None:
        """Advance each slot whose deadline has passed."""
        now = time.monotonic()
        self._oom.look(now)
        for member in self.members:
            if member.slot.deadline is not None and member.slot.deadline <= now:
                self._advance(member, Tick())

    def stop(self, *, now: bool) -> None:
        """Stop every slot; kill its process if `now`."""
        for member in self.members:
            self._advance(member, StopRequested(now=now))

    def add(self, member: Member) -> None:
        """Add a slot; its first process starts at its deadline."""
        self.members = (*self.members, member)

    def retire(self, key: SlotKey) -> None:
        """Drain a slot; `sweep` removes it once it has ended."""
        member = self._member(key)
        member.retired = True
        self._advance(member, StopRequested())

    def replace(self, key: SlotKey, reason: ExitClass, *, hold: bool) -> None:
        """Drain a slot's process; its successor starts then, or with `hold` at `release`."""
        self._advance(self._member(key), ReplacementRequested(reason, hold))

    def hung(self, member: Member, hang: Hang) -> None:
        """End a slot's process that lives and does not work."""
        member.complaint = member.complaint or hang.why
        self._advance(member, Hung(hang.reason))

    def release(self, key: SlotKey) -> None:
        """Let a slot on hold start its process."""
        self._advance(self._member(key), Released())

    def pin(self, member: Member, start: Start) -> None:
        """Send the pinned partitions to a worker that has counted its topic's and waits."""
        member.start = member.running = start
        if member.process is not None:
            member.process.send(start)

    def pause(self, key: SlotKey, *, paused: bool) -> None:
        """Have a slot's worker, and its successors, fetch nothing; or resume."""
        member = self._member(key)
        if member.paused is not paused:
            member.paused = paused
            _log.info("paused" if paused else "resumed", extra=member.fields)
            if member.process is not None:
                member.process.send(Pause() if paused else Resume())

    def evict_ended_members(self, consumer: str) -> None:
        """Remove from the group the members that this consumer's ended slots have left in it."""
        for member in self.members:
            if member.consumer == consumer and member.slot.state in FINAL:
                self._outcomes.remove_from_group(member)

    def sweep(self) -> None:
        """Remove retired slots that have ended."""
        if any(member.retired for member in self.members):
            self.members = tuple(
                m for m in self.members if not (m.retired and m.slot.state in FINAL)
            )

    @property
    def leaving(self) -> int:
        """How many retired slots still work, or have members in their group."""
        retired = sum(member.retired for member in self.members)
        return retired + (self._removals.under_way if self._removals else 0)

    def renew_server(self, preload: Sequence[str]) -> None:
        """Fork the next workers from a new fork server, which imports its modules anew."""
        self._server.renew(modules_to_preload(self._entry, preload))
        if self._warm_up is not None:
            self._warm_up.abandon()
        self._warm_up = WarmUp(self._server)

    @property
    def warming_up(self) -> bool:
        """Whether a renewed fork server still imports its modules."""
        return self._warm_up is not None and self._warm_up.under_way

    async def close(self) -> None:
        """Abandon the processes that are left, which makes them drain; end the fork server."""
        for member in self.members:
            if member.process is not None:
                member.process.abandon()
        if self._removals is not None:
            self._removals.close()
        if self._warm_up is not None:
            self._warm_up.abandon()
        await self._server.close()

    def _member(self, key: SlotKey) -> Member:
        return next(member for member in self.members if member.key == key)

    # Events of processes

    def handle(self, member: Member, event: ProcessEvent) -> None:
        """Take an event of a slot's process."""
        match event:
            case Spawned():
                member.pid = event.pid
                self._advance(member, event)
            case SpawnFailed():
                member.complaint = event.message
                self._advance(member, replace(event, random=_jitter()))
                member.reset_process()
            case ProtocolViolation():
                self._reject(member, event)
            case Exited():
                self._process_exited(member, event)
            case _:
                self._handle_frame(member, event)

    def _process_exited(self, member: Member, exited: Exited) -> None:
        killed = member.slot.killed
        by_someone_else = exited.status == -signal.SIGKILL and not killed
        out_of_memory = by_someone_else and self._oom.explains(time.monotonic())
        if not member.complaint:
            member.complaint = describe_exit(
                exited.status, killed=killed, out_of_memory=out_of_memory
            )
        self.fold.ended(member.key)
        member.process_exited(exited.status)
        self._advance(member, replace(exited, random=_jitter(), out_of_memory=out_of_memory))
        member.reset_process()

    def _handle_frame(self, member: Member, frame: Frame) -> None:
        match frame:
            case Heartbeat():
                if frame.metrics is not None:
                    self.fold.update(member.key, frame.metrics)
                self._advance(member, member.beat(frame, time.monotonic()))
            case WorkerStage():
                if frame.state == "draining":
                    self._advance(member, DrainBegun())
            case Counted():
                member.partition_count = frame.partitions
            case WorkerFailed():
                member.complaint = frame.message
                self._advance(member, DrainBegun())
            case Bye():
                # The process may still hang, in a client's close or an atexit function.
                self._advance(member, DrainBegun())
            case Hello():
                pass  # the pid comes from the fork server
            case Start() | Drain() | Abort() | Pause() | Resume() | Dump() | AskGroup():
                message = f"a worker must not send {frame.type} frames"
                self._reject(member, ProtocolViolation(message))
            case _:
                assert_never(frame)

    def _reject(self, member: Member, violation: ProtocolViolation) -> None:
        member.complaint = violation.message
        _log.error("the worker violates the protocol: %s", violation.message, extra=member.fields)
        self._advance(member, violation)

    def _ask_group(self, consumer: str) -> None:
        """Tell a consumer's workers to ask their group at once: a member has left it for good."""
        for member in self.members:
            if member.consumer == consumer and member.process and member.slot.state in READY:
                member.process.send(AskGroup())

    # Actions

    def _advance(self, member: Member, event: Event) -> None:
        before = member.slot
        member.slot, actions = step(before, event, now=time.monotonic(), policy=member.policy)
        if member.slot.state is not before.state:
            self._record_transition(member, before.state, event)
        for action in actions:
            self._perform(member, action)

    def _record_transition(self, member: Member, before: SlotState, event: Event) -> None:
        state = member.slot.state
        why = member.complaint or _REASONS.get(type(event), "")
        if isinstance(event, ReplacementRequested):
            why = f"{why}: {event.reason.value}"
        self.states.add(member.key, member.pid, before=before, after=state, at=time.time(), why=why)
        if state in READY and before not in READY and member.heartbeat is not None:
            partitions = [f"{topic}/{number}" for topic, number in member.heartbeat.assigned]
            _log.info("assigned", extra={**member.fields, "partitions": partitions})
        elif state is SlotState.DRAINING:
            _log.info("draining", extra={**member.fields, "left": member.left})

    def _perform(self, member: Member, action: Action) -> None:
        match action:
            case Spawn():
                self._spawn(member)
            case ScheduleRestart():
                self._outcomes.restart_scheduled(member, action)
            case CompleteReplacement(reason, seconds):
                self._outcomes.replaced(member, reason, seconds)
            case Fail(reason, why):
                self._outcomes.failed(member, reason, why)
            case Finish(reason):
                self._outcomes.finished(member, reason)
            case SendStart() | SendDump() | SendDrain() | SendTerm() | SendKill() | Abandon():
                if member.process is not None:
                    self._perform_on_process(member, member.process, action)
            case _:
                assert_never(action)

    def _perform_on_process(
        self, member: Member, process: WorkerProcess, action: ProcessAction
    ) -> None:
        match action:
            case SendStart():
                self._send_start(member, process)
            case SendDump():
                process.send(Dump())
            case SendDrain():
                process.send(Drain())
            case SendTerm():
                _log.warning("the drain deadline passed: SIGTERM", extra=member.fields)
                process.send(Abort())  # a main thread inside C code runs no signal handler
                process.signal(signal.SIGTERM)
            case SendKill():
                _log.warning("SIGKILL", extra=member.fields)
                process.signal(signal.SIGKILL)
            case Abandon():
                process.abandon()
                self.fold.ended(member.key)
            case _:
                assert_never(action)

    def _send_start(self, member: Member, process: WorkerProcess) -> None:
        _log.info("worker started", extra=member.fields)
        member.running = member.start
        process.send(replace(member.start, evict=list(member.dead_members.dead)))
        if member.paused:
            process.send(Pause())

    def _spawn(self, member: Member) -> None:
        try:
            member.process = WorkerProcess(
                self._server, self._entry, lambda event: self._post(member, event)
            )
            member.spawned += 1
        except OSError as error:
            path = f": {error.filename}" if error.filename else ""
            message = f"cannot fork a worker: {error.strerror or error}{path}"
            self._post(member, SpawnFailed(message))
