"""/status and /readyz, made from the state of the fleet's members. Pure, and free of secrets.

The keys of /status. Keys are only ever added. Durations are in seconds, points in time in seconds
since the epoch. Null means that a value is not known.

================================  ================================================================
``instance_id`` ``version``       name of this supervisor, and its release
``config_hash``                   hash of its configuration without secrets
``state``                         "running" or "draining"
``ready``                         whether every worker is assigned
``changing``                      whether a reload or a restart is replacing workers
``leaving``                       number of removed workers that are still running, or whose
                                  members are still in their group
``given_up``                      why the rest of the latest change was given up, or null
``last_reload``                   how the latest reload, or the start, ended: ``successful``,
                                  ``at``, and ``error``, why it was refused, or null
``time``                          when this was answered
``uptime_seconds``                time since the supervisor's start
``failures``                      the latest failures of workers, newest first: ``consumer``,
                                  ``slot``, ``pid``, ``reason`` (such as "crash"), ``message``,
                                  ``at``, and ``consequence``, what followed
``consumers``                     by name:
… ``ready`` ``failed``            whether all its workers are ready; whether all have failed for
                                  good
… ``model`` ``handler``           "module:name" of the user's code
… ``processed``                   records settled since the supervisor's start
… ``records_per_second``          mean of the last ten seconds
… ``in_flight`` ``buffered``      records in handlers; records fetched and not yet in a handler
… ``lag``                         records that wait to be handled; null if any worker's is unknown
… ``restarts``                    restarts of its workers
… ``restarts_by_reason``          restarts per reason; reasons that did not occur are left out
… ``slots``                       its workers:
… … ``slot``                      number, from 0
… … ``state``                     a value of `SlotState`
… … ``state_seconds``             time in that state
… … ``paused``                    whether it is paused
… … ``pid``                       its process
… … ``heartbeat_age_seconds``     time since its latest heartbeat
… … ``partitions``                [topic, number] of each partition that it has
… … ``processed`` ``in_flight`` ``buffered`` ``lag`` ``records_per_second`` ``restarts``
    ``restarts_by_reason``        as above, of this worker
… … ``oldest_handler_seconds``    time that its oldest running handler has been running
… … ``cpu_seconds``               CPU time of all its processes, at most five seconds old
… … ``resident_bytes``            resident memory of its process, at most five seconds old
… … ``complaint``                 what is wrong with its process now, or null
… … ``last_failure``              its latest failure: ``reason``, ``message``, ``at``
================================  ================================================================
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from supervisor.slot.machine import READY, SlotState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from supervisor.fleet.member import Member
    from supervisor.fleet.outcomes import WorkerFailure
    from supervisor.slot.restart import ExitClass


SILENCE = 10.0
"""Seconds without a heartbeat, which comes once a second, after which a worker is not ready."""


@dataclass(frozen=True, slots=True)
class LastReload:
    """How the latest reload ended.

    Attributes:
        successful: Whether it was accepted.
        succeeded_at: When a reload was last accepted (seconds since the epoch).
        at: When the latest reload ended.
        error: Why it was refused; "" if it was accepted.
    """

    successful: bool = True
    succeeded_at: float = 0.0
    at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a worker.

    Attributes:
        records_per_second: Mean of the last ten seconds.
        cpu_seconds: CPU time of all its processes; None if the system does not say.
        resident_bytes: Resident memory of its current process; None as above.
    """

    records_per_second: float = 0.0
    cpu_seconds: float | None = None
    resident_bytes: int | None = None


def unmeasured(_member: Member, _now: float) -> Measured:
    """Return empty measurements."""
    return Measured()


def unready(members: Sequence[Member], now: float) -> list[str]:
    """Say why the fleet is not ready: a line for each slot without assignment or heartbeats."""
    return [
        f"{member.consumer}/{member.index}: {reason}"
        for member in members
        if (reason := _unready(member, now)) is not None
    ]


def _unready(member: Member, now: float) -> str | None:
    """Say why a slot is not ready; None if it is."""
    state = member.slot.state
    if state not in READY:
        why = member.complaint
        if not why and member.last_failure:
            why = member.last_failure.message
        return f"{state.value} ({why})" if why else state.value
    silence = member.silence(now)
    if silence is not None and silence > SILENCE:
        return f"{state.value}, but its last heartbeat came {silence:.0f} s ago"
    return None


def by_consumer(members: Iterable[Member]) -> dict[str, list[Member]]:
    """Group the slots by consumer, in their order."""
    by_name: dict[str, list[Member]] = {}
    for member in members:
        by_name.setdefault(member.consumer, []).append(member)
    return by_name


def lag(slots: Iterable[Member]) -> int | None:
    """Return the number of records that wait for these workers; None if any lag is not known.

    A slot that is gone has none. A slot that has failed has none either, because the group gives
    its partitions to others, unless its partitions are pinned: then its lag is not known.
    """
    total = 0
    for member in slots:
        if _has_no_partitions(member):
            continue
        beat = member.heartbeat
        if beat is None or not beat.joined:
            return None
        if beat.lag is None and beat.assigned:
            return None
        total += beat.lag or 0
    return total


def _has_no_partitions(member: Member) -> bool:
    """Return whether a slot has ended for good and its partitions belong to others, if anyone."""
    if member.slot.state is SlotState.GONE:
        return True
    return member.slot.state is SlotState.FAILED and "partitions" not in member.start.consumer


def consumers(
    members: Sequence[Member],
    now: float,
    measured: Callable[[Member, float], Measured] = unmeasured,
) -> dict[str, Any]:
    """Describe each consumer with its slots, as JSON data.

    Args:
        members: The slots.
        now: Monotonic seconds.
        measured: Returns what was measured of a worker.
    """
    return {name: _consumer(slots, now, measured) for name, slots in by_consumer(members).items()}


def _consumer(
    members: Sequence[Member], now: float, measured: Callable[[Member, float], Measured]
) -> dict[str, Any]:
    slots = [_slot(member, now, measured(member, now)) for member in members]
    restarts: Counter[ExitClass] = sum((member.restarts for member in members), Counter())
    return {
        "ready": all(_unready(member, now) is None for member in members),
        "failed": all(member.slot.state is SlotState.FAILED for member in members),
        "model": members[0].start.consumer["model"],
        "handler": members[0].start.consumer["handler"],
        "processed": sum(slot["processed"] for slot in slots),
        "records_per_second": round(sum(slot["records_per_second"] for slot in slots), 2),
        "in_flight": sum(slot["in_flight"] for slot in slots),
        "buffered": sum(slot["buffered"] for slot in slots),
        "lag": lag(members),
        "restarts": restarts.total(),
        "restarts_by_reason": _by_reason(restarts),
        "slots": slots,
    }


def _slot(member: Member, now: float, measured: Measured) -> dict[str, Any]:
    beat = member.heartbeat
    failure = member.last_failure
    silence = member.silence(now)
    return {
        "slot": member.index,
        "state": member.slot.state.value,
        "state_seconds": round(now - member.slot.since, 3),
        "paused": member.paused,
        "pid": member.pid,
        "heartbeat_age_seconds": None if silence is None else round(silence, 3),
        "partitions": [list(partition) for partition in beat.assigned] if beat else [],
        "processed": member.processed,
        "records_per_second": measured.records_per_second,
        "in_flight": beat.in_flight if beat else 0,
        "buffered": beat.buffered if beat else 0,
        "lag": beat.lag if beat else None,
        "oldest_handler_seconds": beat.oldest_handler_seconds if beat else 0.0,
        "cpu_seconds": measured.cpu_seconds,
        "resident_bytes": measured.resident_bytes,
        "restarts": member.restarts.total(),
        "restarts_by_reason": _by_reason(member.restarts),
        "complaint": member.complaint or None,
        "last_failure": failure
        and {"reason": failure.reason.value, "message": failure.message, "at": failure.at},
    }


def _by_reason(restarts: Counter[ExitClass]) -> dict[str, int]:
    return {reason.value: count for reason, count in restarts.most_common() if count}


def reload(last: LastReload) -> dict[str, Any]:
    """Describe how the latest reload ended, as JSON data."""
    return {
        "successful": last.successful,
        "at": round(last.at, 3),
        "error": last.error or None,
    }


def failures(latest: Sequence[WorkerFailure]) -> list[dict[str, Any]]:
    """Describe the latest failures, newest first, as JSON data."""
    return [{**asdict(end), "reason": end.reason.value} for end in reversed(latest)]
