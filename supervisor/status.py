"""What /status and /readyz say, from the members' state. Pure, and free of secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor.slot import READY, SlotState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.member import Member


def unready(members: Sequence[Member]) -> list[str]:
    """Why the fleet is not ready: a line for each slot that has no assignment."""
    return [
        f"{member.consumer}/{member.index}: {member.slot.state.value}"
        + (f" ({member.last_failure.message})" if member.last_failure else "")
        for member in members
        if member.slot.state not in READY
    ]


def consumers(members: Sequence[Member], now: float) -> dict[str, Any]:
    """Each consumer with its slots, ready for JSON."""
    by_name: dict[str, list[Member]] = {}
    for member in members:
        by_name.setdefault(member.consumer, []).append(member)
    return {
        name: {
            "ready": all(member.slot.state in READY for member in slots),
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
    return {
        "slot": member.index,
        "state": member.slot.state.value,
        "state_seconds": round(now - member.slot.since, 3),
        "pid": member.pid,
        "partitions": [list(partition) for partition in beat.assigned] if beat else [],
        "processed": member.processed,
        "in_flight": beat.in_flight if beat else 0,
        "buffered": beat.buffered if beat else 0,
        "lag": beat.lag if beat else None,
        "restarts": member.restarts.total(),
        "last_failure": failure
        and {"reason": failure.reason.value, "message": failure.message, "at": failure.at},
    }
