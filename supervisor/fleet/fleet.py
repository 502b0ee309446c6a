"""All slots and their processes: what happens to them goes in, what has to be done is done."""

from __future__ import annotations

import logging
import random
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from supervisor.fleet.fold import Fold
from supervisor.fleet.group_removal import Removals
from supervisor.fleet.member import explain
from supervisor.fleet.outcomes import Endings
from supervisor.fleet.state_log import StateLog
from supervisor.link import Died, Forked, Garbage, Link, Report, Unforked
from supervisor.process.oom import OomKills
from supervisor.process.warm_up import Warming
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
    Stage,
    Start,
    WorkerFailed,
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
from supervisor.slot.machine import (
    FINAL,
    READY,
    SlotState,
    step,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.fleet.member import Member
    from supervisor.fleet.wanted import SlotKey
    from supervisor.process.fork_server import ForkServer
    from supervisor.slot.hang import Hang
    from supervisor.slot.restart import ExitClass

log = logging.getLogger("supervisor")

WORKER = "supervisor.worker.main:main"
"""What workers run, unless a test has them run something else."""


def preloaded(entry: str, preload: Sequence[str]) -> list[str]:
    """The modules that workers find imported."""
    return [entry.partition(":")[0], *preload] if entry == WORKER else list(preload)


_WHY = {
    "StopRequested": "it is not wanted any more",
    "ReplacementRequested": "it is replaced",
    "Hung": "it hangs",
    "DrainBegun": "it drains by itself",
    "ProtocolViolation": "it does not keep to the protocol",
}
"""What an event says to people, where the worker itself has said nothing."""


def _roll() -> float:
    return random.random()  # noqa: S311 - spreads restarts; nothing to guess


class Fleet:
    """The slots of all consumers.

    Args:
        members: The slots, in the configuration's order.
        server: Where workers are forked.
        entry: What they run, "module:function".
        post: Takes what processes report; it comes back through `take`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        server: ForkServer,
        entry: str,
        post: Callable[[Member, Report], None],
    ) -> None:
        self.members = tuple(members)
        self.fold = Fold()
        self.states = StateLog()
        self._server = server
        self._entry = entry
        self._post = post
        self._oom = OomKills()
        self._warming: Warming | None = None
        self._removals = Removals(server, self._ask_group) if entry == WORKER else None
        self._endings = Endings(self._removals)
        self.failures = self._endings.failures
        self.drains = self._endings.drains

    @property
    def finished(self) -> bool:
        """Whether no slot has a process, or will have one."""
        return all(member.slot.state in FINAL for member in self.members)

    def next_deadline(self) -> float | None:
        """When `tick` matters next, in monotonic seconds."""
        deadlines = (member.slot.deadline for member in self.members)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def tick(self) -> None:
        """Let each slot whose deadline is due act on it."""
        now = time.monotonic()
        self._oom.look(now)
        for member in self.members:
            if member.slot.deadline is not None and member.slot.deadline <= now:
                self._advance(member, Tick())

    def stop(self, *, now: bool) -> None:
        """Tell every slot that it is not wanted any more."""
        for member in self.members:
            self._advance(member, StopRequested(now=now))

    def add(self, member: Member) -> None:
        """One slot more; its first process starts at its deadline."""
        self.members = (*self.members, member)

    def retire(self, key: SlotKey) -> None:
        """Drain a slot that is not wanted any more; `sweep` forgets it once it has ended."""
        member = self._named(key)
        member.retired = True
        self._advance(member, StopRequested())

    def replace(self, key: SlotKey, reason: ExitClass, *, hold: bool) -> None:
        """Drain a slot's process; its successor starts then, or when it is released."""
        self._advance(self._named(key), ReplacementRequested(reason, hold))

    def hung(self, member: Member, hang: Hang) -> None:
        """A slot's process lives and does not do its work: it is made to end."""
        member.complaint = member.complaint or hang.why
        self._advance(member, Hung(hang.reason))

    def release(self, key: SlotKey) -> None:
        """Let a slot that holds start its process."""
        self._advance(self._named(key), Released())

    def pin(self, member: Member, start: Start) -> None:
        """Tell a worker that counted its topic's partitions, and waits, which are its own."""
        member.start = member.running = start
        if member.process is not None:
            member.process.send(start)

    def pause(self, key: SlotKey, *, paused: bool) -> None:
        """Have a slot's worker, and those that follow it, fetch nothing; or go on."""
        member = self._named(key)
        if member.paused is not paused:
            member.paused = paused
            log.info("paused" if paused else "resumed", extra=member.fields)
            if member.process is not None:
                member.process.send(Pause() if paused else Resume())

    def leave_behind_nobody(self, consumer: str) -> None:
        """Take out of the group what this consumer's ended slots have left in it."""
        for member in self.members:
            if member.consumer == consumer and member.slot.state in FINAL:
                self._endings.remove(member)

    def sweep(self) -> None:
        """Forget retired slots that have ended."""
        if any(member.retired for member in self.members):
            self.members = tuple(
                m for m in self.members if not (m.retired and m.slot.state in FINAL)
            )

    @property
    def leaving(self) -> int:
        """How many slots that are not wanted any more still work, or are in their group."""
        retired = sum(member.retired for member in self.members)
        return retired + (self._removals.under_way if self._removals else 0)

    def renew_server(self, preload: Sequence[str]) -> None:
        """Fork the next workers from a new process, which imports its modules anew."""
        self._server.renew(preloaded(self._entry, preload))
        if self._warming is not None:
            self._warming.abandon()
        self._warming = Warming(self._server)

    @property
    def warming(self) -> bool:
        """Whether the next workers would have to wait for their fork server's imports."""
        return self._warming is not None and self._warming.under_way

    def _named(self, key: SlotKey) -> Member:
        return next(member for member in self.members if member.name == key)

    def take(self, member: Member, report: Report) -> None:
        """Act on what a slot's process reported."""
        match report:
            case Forked(pid):
                member.pid = pid
                self._advance(member, Spawned())
            case Unforked(message):
                member.complaint = message
                self._advance(member, SpawnFailed(_roll()))
                member.lay_down()
            case Garbage(message):
                self._distrust(member, message)
            case Died(status):
                killed, now = member.slot.killed, time.monotonic()
                oom = status == -signal.SIGKILL and not killed and self._oom.explains(now)
                why = explain(status, killed=killed, out_of_memory=oom)
                member.complaint = member.complaint or why
                self.fold.ended(member.key)
                member.died(status)
                self._advance(member, Exited(status, _roll(), oom))
                member.lay_down()
            case _:
                self._take_frame(member, report)

    def _take_frame(self, member: Member, frame: Frame) -> None:
        match frame:
            case Heartbeat():
                if frame.metrics is not None:
                    self.fold.update(member.key, frame.metrics)
                self._advance(member, member.beat(frame, time.monotonic()))
            case Stage():
                if frame.state == "draining":
                    self._advance(member, DrainBegun())
            case Counted():
                member.counted = frame.partitions
            case WorkerFailed():
                member.complaint = frame.message
                self._advance(member, DrainBegun())
            case Bye():
                # Its process may still hang, in a client's close or an atexit function.
                self._advance(member, DrainBegun())
            case Hello():
                pass  # the pid comes from the fork server
            case Start() | Drain() | Abort() | Pause() | Resume() | Dump() | AskGroup():
                self._distrust(member, f"a worker does not send {frame.type} frames")
            case _:
                assert_never(frame)

    def _ask_group(self, consumer: str) -> None:
        """A slot of this consumer is out of its group: the others learn of it at once."""
        for member in self.members:
            if member.consumer == consumer and member.process and member.slot.state in READY:
                member.process.send(AskGroup())

    def _distrust(self, member: Member, message: str) -> None:
        member.complaint = message
        log.error("a worker does not keep to the protocol: %s", message, extra=member.fields)
        self._advance(member, ProtocolViolation())

    def _advance(self, member: Member, event: Event) -> None:
        before = member.slot
        member.slot, actions = step(before, event, time.monotonic(), member.policy)
        if member.slot.state is not before.state:
            self._tell(member, before.state, event)
        for action in actions:
            self._act(member, action)

    def _tell(self, member: Member, before: SlotState, event: Event) -> None:
        state = member.slot.state
        why = member.complaint or _WHY.get(type(event).__name__, "")
        why += f": {event.reason.value}" if isinstance(event, ReplacementRequested) else ""
        self.states.add(member.key, member.pid, before, state, at=time.time(), why=why)
        if state in READY and before not in READY and member.heartbeat is not None:
            partitions = [f"{topic}/{number}" for topic, number in member.heartbeat.assigned]
            log.info("assigned", extra={**member.fields, "partitions": partitions})
        elif state is SlotState.DRAINING:
            log.info("draining", extra={**member.fields, "left": member.left})

    def _act(self, member: Member, action: Action) -> None:
        match action:
            case Spawn():
                self._spawn(member)
            case ScheduleRestart():
                self._endings.retrying(member, action)
            case CompleteReplacement(reason, seconds):
                self._endings.renewed(member, reason, seconds)
            case Fail(reason, why):
                self._endings.failed(member, reason, why)
            case Finish(reason):
                self._endings.gone(member, reason)
            case SendStart() | SendDump() | SendDrain() | SendTerm() | SendKill() | Abandon():
                self._command(member, action)
            case _:
                assert_never(action)

    def _command(self, member: Member, action: ProcessAction) -> None:
        process = member.process
        if process is None:
            return
        match action:
            case SendStart():
                log.info("worker started", extra=member.fields)
                member.running = member.start
                process.send(replace(member.start, evict=list(member.departed.dead)))
                if member.paused:
                    process.send(Pause())
            case SendDump():
                process.send(Dump())
            case SendDrain():
                process.send(Drain())
            case SendTerm():
                log.warning("the drain deadline passed: SIGTERM", extra=member.fields)
                process.send(Abort())  # a main thread inside C code runs no signal handler
                process.signal(signal.SIGTERM)
            case SendKill():
                log.warning("SIGKILL", extra=member.fields)
                process.signal(signal.SIGKILL)
            case Abandon():
                process.abandon()
                self.fold.ended(member.key)
            case _:
                assert_never(action)

    def _spawn(self, member: Member) -> None:
        link = Link(member, self._post)
        try:
            member.process = WorkerProcess(self._server, self._entry, link)
            member.spawned += 1
        except OSError as error:
            named = f": {error.filename}" if error.filename else ""
            why = f"the system gives no process: {error.strerror or error}{named}"
            self._post(member, Unforked(why))

    async def close(self) -> None:
        """Let go of processes that are left, which makes them drain, and end the fork server."""
        for member in self.members:
            if member.process is not None:
                member.process.abandon()
        if self._removals is not None:
            self._removals.close()
        if self._warming is not None:
            self._warming.abandon()
        await self._server.close()
