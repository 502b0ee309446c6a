"""Watches living workers: replaces those that hang, and recycles those that are due."""

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
    from supervisor.fleet.slot_spec import SlotKey
    from supervisor.slot.hang import Hang, HangWatch

_log = logging.getLogger("supervisor")

LOOK = 0.5
"""Seconds between two looks at the workers."""
BLOCKED = 2.0
"""Seconds of a drain without a running handler after which ended members are evicted."""


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads replacements; nothing to guess


@dataclass(slots=True)
class _Watched:
    """What is remembered of a worker's process.

    Attributes:
        watch: The memory of the hang detectors.
        jitter: A number in [0, 1) that spreads the recycling of processes.
        due: Whether its recycling has been logged.
    """

    watch: HangWatch
    jitter: float
    due: bool = False


class Health:
    """Finds workers that are to be replaced although they live.

    Args:
        fleet: The workers.
        recycle: Replaces a healthy worker when its turn comes; may be called again for the same
            one.
    """

    def __init__(self, fleet: Fleet, recycle: Callable[[SlotKey], None]) -> None:
        self._fleet = fleet
        self._recycle = recycle
        self._clock = AttentionClock()
        self._watched: dict[SlotKey, _Watched] = {}
        self._looked: float | None = None

    def look(self, now: float) -> None:
        """Look at every worker. Call it at least once a second; more often is cheap."""
        if self._looked is not None and now - self._looked < LOOK:
            return
        self._looked = now
        at = self._clock.at(now)
        running = [member for member in self._fleet.members if _is_running(member)]
        self._forget_all_but({member.key for member in running})
        for member in running:
            self._look_at(member, now, at)
        self._unblock_drains(now)

    def _forget_all_but(self, keys: set[SlotKey]) -> None:
        self._watched = {key: watched for key, watched in self._watched.items() if key in keys}

    def _look_at(self, member: Member, now: float, at: float) -> None:
        watched = self._watched.get(member.key)
        before = None if watched is None else watched.watch
        watch, hang = detect_hang(before, _observe(member), member.policy.limits, at=at)
        if watched is None or watched.watch.process != watch.process:
            watched = self._watched[member.key] = _Watched(watch, _jitter())
        watched.watch = watch
        if hang is not None:
            self._replace_hung(member, hang)
        elif member.policy.lifespan.limited and member.slot.state in READY:
            self._recycle_if_due(member, watched, now)

    def _replace_hung(self, member: Member, hang: Hang) -> None:
        stopped = member.pid is not None and is_stopped(member.pid)
        hint = "; a signal has stopped it, so it cannot write its stacks" if stopped else ""
        fields = {**member.fields, "reason": hang.reason.value}
        _log.error("the worker hangs: %s%s", hang.why, hint, extra=fields)
        process = member.process
        self._fleet.hung(member, hang)
        if hang.deaf and process is not None:
            # Its control thread may wait for the interpreter's lock.
            process.signal(DUMP_SIGNAL)

    def _recycle_if_due(self, member: Member, watched: _Watched, now: float) -> None:
        why = member.policy.lifespan.due(_used(member, now), watched.jitter)
        if why is None or self._is_short_of_workers(member.consumer):
            return
        if not watched.due:
            watched.due = True
            _log.info("the worker is to be recycled: %s", why, extra=member.fields)
        self._recycle(member.key)

    def _is_short_of_workers(self, consumer: str) -> bool:
        """Return whether a worker of this consumer is missing, perhaps because none can start."""
        states = (m.slot.state for m in self._fleet.members if m.consumer == consumer)
        return any(state not in READY | FINAL for state in states)

    def _unblock_drains(self, now: float) -> None:
        blocked = {m.consumer for m in self._fleet.members if _is_blocked(m, now)}
        for consumer in blocked:
            self._fleet.evict_ended_members(consumer)


def _is_running(member: Member) -> bool:
    return member.slot.state in RUNNING and member.pid is not None


def _is_blocked(member: Member, now: float) -> bool:
    """Return whether a worker drains with nothing in flight: its last commit is not answered.

    A static member that has ended stays in its group. If a rebalance was under way then, the
    group waits for that member until its session times out, and the JoinGroup requests of the
    others stay unanswered; and a broker reads no further request from a connection before it has
    answered the one before.
    """
    slot, heartbeat = member.slot, member.heartbeat
    if slot.state is not SlotState.DRAINING or slot.drain_began is None:
        return False
    if heartbeat is None or heartbeat.in_flight > 0:
        return False
    return now - slot.drain_began >= BLOCKED


def _used(member: Member, now: float) -> Used:
    lifespan = member.policy.lifespan
    usage = usage_of(member.pid) if lifespan.resident_bytes and member.pid is not None else None
    return Used(
        seconds=0.0 if member.slot.started is None else now - member.slot.started,
        records=0 if member.heartbeat is None else member.heartbeat.processed,
        resident_bytes=None if usage is None else usage.resident_bytes,
    )


def _observe(member: Member) -> Observation:
    heartbeat = member.heartbeat
    if heartbeat is None:
        return Observation(member.spawned)
    return Observation(
        member.spawned,
        beat=member.heard_at,
        joined=heartbeat.joined,
        handler_seconds=heartbeat.oldest_handler_seconds,
        behind=() if member.paused else tuple(heartbeat.behind),
    )
