"""Decides whether a slot's worker is at work, so that the next one may be replaced. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.changes.rollout import SlotView
from supervisor.slot.machine import FINAL, READY

if TYPE_CHECKING:
    from supervisor.fleet.member import Member
    from supervisor.protocol import Heartbeat

PACE = 1.1
"""Seconds between two replacements that each make the whole group rejoin: librdkafka sends one
JoinGroup a second at most, and partitions stand still until the last member has rejoined."""
SETTLED = 2.0
"""Seconds after which an assigned worker whose lag is unknown counts as being at work."""


def view_of(member: Member, now: float) -> SlotView:
    """Describe a slot to a rollout.

    Args:
        member: The slot.
        now: Monotonic seconds.
    """
    return SlotView(
        process=0 if member.process is None else member.spawned,
        at_work=_is_at_work(member, now),
        over=member.slot.state in FINAL,
    )


def _is_at_work(member: Member, now: float) -> bool:
    heartbeat = member.heartbeat
    if member.slot.state not in READY or heartbeat is None:
        return False
    if member.rejoins and not _has_pace(member, now):
        return False
    if member.paused or _has_progress(heartbeat):
        return True
    return heartbeat.lag is None and now - member.slot.since > SETTLED


def _has_pace(member: Member, now: float) -> bool:
    return member.joined_at is not None and now - member.joined_at >= PACE


def _has_progress(heartbeat: Heartbeat) -> bool:
    """Return whether the worker has handled records, or has none to handle."""
    if not heartbeat.assigned or heartbeat.lag == 0:
        return True
    return heartbeat.processed > 0 or heartbeat.in_flight > 0
