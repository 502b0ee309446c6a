"""What /status and /readyz say, from the members' state. Pure, and free of secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor.slot import READY, SlotState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.member import Member


SILENCE = 10.0
"""Seconds without a heartbeat, of which there is one a second, that make a worker not ready."""


def unready(members: Sequence[Member], now: float) -> list[str]:
    """Why the fleet is not ready: a line for each slot that has no assignment or is silent."""
    return [
        f"{member.consumer}/{member.index}: {reason}"
        for member in members
        if (reason := _unready(member, now)) is not None
    ]


def _unready(member: Member, now: float) -> str | None:
    state = member.slot.state
    if state not in READY:
        return state.value + (f" ({member.last_failure.message})" if member.last_failure else "")
    silence = member.silence(now)
    if silence is not None and silence > SILENCE:
        return f"{state.value}, but its last heartbeat came {silence:.0f} s ago"
    return None


def consumers(members: Sequence[Member], now: float) -> dict[str, Any]:
    """Each consumer with its slots, ready for JSON."""
    by_name: dict[str, list[Member]] = {}
    for member in members:
        by_name.setdefault(member.consumer, []).append(member)
    return {
        name: {
            "ready": all(_unready(member, now) is None for member in slots),
            "failed": all(member.slot.state is SlotState.FAILED for member in slots),
            "model": slots[0].start.consumer["model"],
            "handler": slots[0].start.consumer["handler"],
            "processed": sum(member.processed for member in slots),
            "slots": [_slot(member, now) for member in slots],
        }
        for name, slots in by_name.items()
    }


def _slot(member: Member, now: float) -> dict[str, Any]:
    beat = member.heartbeat
    failure = member.last_failure
    silence = member.silence(now)
    return {
        "slot": member.index,
        "state": member.slot.state.value,
        "state_seconds": round(now - member.slot.since, 3),
        "pid": member.pid,
        "heartbeat_age_seconds": None if silence is None else round(silence, 3),
        "partitions": [list(partition) for partition in beat.assigned] if beat else [],
        "processed": member.processed,
        "in_flight": beat.in_flight if beat else 0,
        "buffered": beat.buffered if beat else 0,
        "lag": beat.lag if beat else None,
        "restarts": member.restarts.total(),
        "last_failure": failure
        and {"reason": failure.reason.value, "message": failure.message, "at": failure.at},
    }
