"""Looks after workers that live: replaces those that hang, and those that have done enough."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.process.launch import DUMP_SIGNAL
from supervisor.process.proc_stat import is_stopped, usage_of
from supervisor.slot.hang import AttentionClock, Observation, detect_hang
from supervisor.slot.machine import FINAL, READY, RUNNING, SlotState
from supervisor.slot.recycling import Used

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.fleet.fleet import Fleet
    from supervisor.fleet.member import Member
    from supervisor.fleet.wanted import SlotKey
    from supervisor.slot.hang import Hang, HangWatch

log = logging.getLogger("supervisor")

LOOK = 0.5
"""Seconds between two looks; a turn of the main loop for each of many heartbeats costs nothing."""
BLOCKED = 2.0
"""Seconds that a drain may take once no handler runs, before its group is seen to."""


def _chance() -> float:
    return random.random()  # noqa: S311 - spreads replacements; nothing to guess


@dataclass(slots=True)
class _Seen:
    watch: HangWatch
    chance: float
    due: bool = False


class Health:
    """Finds workers that are to be replaced although they live.

    Args:
        fleet: The workers.
        recycle: Replaces one that has done nothing wrong when its turn comes; asking for the
            same one again changes nothing.
    """

    def __init__(self, fleet: Fleet, recycle: Callable[[SlotKey], None]) -> None:
        self._fleet = fleet
        self._recycle = recycle
        self._attention = AttentionClock()
        self._seen: dict[SlotKey, _Seen] = {}
        self._looked: float | None = None

    def look(self, now: float) -> None:
        """Look at every worker. To be called at least once a second; more often costs nothing."""
        if self._looked is not None and now - self._looked < LOOK:
            return
        self._looked = now
        at = self._attention.at(now)
        running = [m for m in self._fleet.members if m.slot.state in RUNNING and m.pid is not None]
        seen = {m.name: self._seen.get(m.name) for m in running}
        self._seen = {key: known for key, known in seen.items() if known is not None}
        for member in running:
            self._look_at(member, now, at)
        for consumer in {m.consumer for m in self._fleet.members if _is_blocked(m, now)}:
            self._fleet.leave_behind_nobody(consumer)

    def _look_at(self, member: Member, now: float, at: float) -> None:
        seen = self._seen.get(member.name)
        before = None if seen is None else seen.watch
        watch, hang = detect_hang(before, _sight(member), member.policy.limits, at)
        if seen is None or seen.watch.process != watch.process:
            seen = self._seen[member.name] = _Seen(watch, _chance())
        seen.watch = watch
        if hang is not None:
            self._hangs(member, hang)
        elif member.policy.lifespan.limited and member.slot.state in READY:
            self._recycle_if_due(member, seen, now)

    def _hangs(self, member: Member, hang: Hang) -> None:
        pid, process = member.pid, member.process
        stopped = pid is not None and is_stopped(pid)
        hint = "; a signal has stopped it, so it cannot write its stacks" if stopped else ""
        fields = {**member.fields, "reason": hang.reason.value}
        log.error("the worker hangs: %s%s", hang.why, hint, extra=fields)
        self._fleet.hung(member, hang)
        if hang.deaf and process is not None:
            process.signal(DUMP_SIGNAL)  # its control thread may wait for the interpreter's lock

    def _recycle_if_due(self, member: Member, seen: _Seen, now: float) -> None:
        span = member.policy.lifespan
        usage = usage_of(member.pid) if span.resident_bytes and member.pid is not None else None
        used = Used(
            seconds=0.0 if member.slot.started is None else now - member.slot.started,
            records=0 if member.heartbeat is None else member.heartbeat.processed,
            resident_bytes=None if usage is None else usage.resident_bytes,
        )
        why = span.due(used, seen.chance)
        if why is None or self._is_short_of(member.consumer):
            return
        if not seen.due:
            seen.due = True
            log.info("the worker is to be recycled: %s", why, extra=member.fields)
        self._recycle(member.name)

    def _is_short_of(self, consumer: str) -> bool:
        """Whether a worker of this consumer is away already, perhaps because none can start."""
        states = (m.slot.state for m in self._fleet.members if m.consumer == consumer)
        return any(state not in READY | FINAL for state in states)


def _is_blocked(member: Member, now: float) -> bool:
    """Whether a worker drains with nothing left to do: the broker does not take its last commit.

    A static member that has ended stays in its group. If a rebalance was under way then, the
    group waits for it up to its session time-out, in the answers to the others' JoinGroup; and a
    broker reads no further request from a connection before it has answered the one before.
    """
    slot, beat = member.slot, member.heartbeat
    done = beat is not None and beat.in_flight == 0
    draining = slot.state is SlotState.DRAINING and slot.asked is not None
    return done and draining and now - (slot.asked or now) >= BLOCKED


def _sight(member: Member) -> Observation:
    beat = member.heartbeat
    if beat is None:
        return Observation(member.spawned)
    return Observation(
        member.spawned,
        member.heard_at,
        beat.joined,
        beat.oldest_handler_seconds,
        () if member.paused else tuple(beat.behind),
    )
