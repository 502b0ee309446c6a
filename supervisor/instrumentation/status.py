"""What /status and /readyz say, from the members' state. Pure, and free of secrets.

The keys of /status, which are only ever added to. Seconds are lengths of time; moments are
seconds since the epoch. Null: not known.

================================  ================================================================
``instance_id`` ``version``       which supervisor this is, and of which release
``config_hash``                   its configuration's fingerprint, without secrets
``state``                         "running" or "draining"
``ready``                         whether every worker is assigned and nobody asked to stop
``changing``                      whether workers are being replaced, by a reload or a restart
``leaving``                       how many workers that were taken away still work, or are in
                                  their group
``given_up``                      why the rest of the latest change was given up, or null
``last_reload``                   how the latest reload ended, or the start: ``successful``, ``at``,
                                  and ``error``, why it was refused and changed nothing, or null
``time``                          when this was answered
``uptime_seconds``                since the supervisor's start
``failures``                      the latest bad ends of workers, newest first: ``consumer``,
                                  ``slot``, ``pid``, ``reason`` (a class, as "crash"), ``message``,
                                  ``at``, and ``consequence``, what followed
``consumers``                     by name
… ``ready`` ``failed``            whether all of its workers are ready; have failed for good
… ``model`` ``handler``           "module:name" of the user's code
… ``processed``                   records settled since the supervisor's start
… ``records_per_second``          of the last ten seconds
… ``in_flight`` ``buffered``      records in handlers; fetched and waiting
… ``lag``                         records that wait for it; null while a worker's part is unknown
… ``restarts``                    restarts of its workers
… ``restarts_by_reason``          the same by the class of the end before; only those that were
… ``slots``                       its workers:
… … ``slot``                      number, from 0
… … ``state``                     a value of `SlotState`
… … ``state_seconds``             how long it has been in that state
… … ``paused``                    whether it was told to fetch nothing
… … ``pid``                       its process
… … ``heartbeat_age_seconds``     since the latest word from it
… … ``partitions``                [topic, number] of each that it holds
… … ``processed`` ``in_flight`` ``buffered`` ``lag`` ``records_per_second`` ``restarts``
    ``restarts_by_reason``        as above, of this worker
… … ``oldest_handler_seconds``    how long its oldest running handler has been running
… … ``cpu_seconds``               CPU time of all its processes, at most five seconds old
… … ``resident_bytes``            memory of its process, at most five seconds old
… … ``complaint``                 what is wrong with its process now; null if nothing is known
… … ``last_failure``              its latest bad end: ``reason``, ``message``, ``at``
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
"""Seconds without a heartbeat, of which there is one a second, that make a worker not ready."""


@dataclass(frozen=True, slots=True)
class LastReload:
    """How the latest reload ended.

    Attributes:
        successful: Whether it was accepted.
        succeeded_at: When the latest that was accepted was (seconds since the epoch).
        at: When the latest ended.
        error: Why it was refused; "" if it was not.
    """

    successful: bool = True
    succeeded_at: float = 0.0
    at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a worker does and costs, as far as it was measured.

    Attributes:
        records_per_second: Its rate over the last ten seconds.
        cpu_seconds: CPU time of all its processes; None where the system does not tell.
        resident_bytes: Memory of its current process; None as above.
    """

    records_per_second: float = 0.0
    cpu_seconds: float | None = None
    resident_bytes: int | None = None


def unmeasured(_member: Member, _now: float) -> Measured:
    """Nothing was measured."""
    return Measured()


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
        why = member.complaint or (member.last_failure.message if member.last_failure else "")
        return f"{state.value} ({why})" if why else state.value
    silence = member.silence(now)
    if silence is not None and silence > SILENCE:
        return f"{state.value}, but its last heartbeat came {silence:.0f} s ago"
    return None


def by_consumer(members: Iterable[Member]) -> dict[str, list[Member]]:
    """The slots of each consumer, in their order."""
    by_name: dict[str, list[Member]] = {}
    for member in members:
        by_name.setdefault(member.consumer, []).append(member)
    return by_name


def lag(slots: Iterable[Member]) -> int | None:
    """Records that wait for these workers; None while the part of one is not known.

    A slot that is gone has no part. One that has failed has none either, as the group gives its
    partitions to the others, unless its partitions are pinned: then nobody can tell.
    """
    total = 0
    for member in slots:
        if member.slot.state is SlotState.GONE or (
            member.slot.state is SlotState.FAILED and "partitions" not in member.start.consumer
        ):
            continue
        beat = member.heartbeat
        if beat is None or (beat.lag is None and beat.assigned) or not beat.joined:
            return None
        total += beat.lag or 0
    return total


def consumers(
    members: Sequence[Member],
    now: float,
    measured: Callable[[Member, float], Measured] = unmeasured,
) -> dict[str, Any]:
    """Each consumer with its slots, ready for JSON.

    Args:
        members: The slots.
        now: Monotonic seconds.
        measured: What a worker does and costs.
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
    """How the latest reload ended, ready for JSON."""
    return {
        "successful": last.successful,
        "at": round(last.at, 3),
        "error": last.error or None,
    }


def failures(latest: Sequence[WorkerFailure]) -> list[dict[str, Any]]:
    """The latest bad ends, newest first, ready for JSON."""
    return [{**asdict(end), "reason": end.reason.value} for end in reversed(latest)]
