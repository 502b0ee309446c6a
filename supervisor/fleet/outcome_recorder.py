"""Counts, keeps and logs the ends of a fleet's workers: restarts, failures, drains."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from supervisor.fleet.drains import Drains
from supervisor.fleet.outcomes import FailureLog, SlotOutcome, WorkerFailure
from supervisor.slot.restart import ExitClass

if TYPE_CHECKING:
    from supervisor.fleet.group_removal import GroupRemovals
    from supervisor.fleet.member import Member
    from supervisor.slot.events import ScheduleRestart

_log = logging.getLogger("supervisor")


class OutcomeRecorder:
    """Records the ends of a fleet's workers.

    Args:
        removals: Removes the members of ended slots from their groups; None: nobody does.

    Attributes:
        failures: The latest failures.
        drains: The histogram of drains.
    """

    def __init__(self, removals: GroupRemovals | None) -> None:
        self.failures = FailureLog()
        self.drains = Drains()
        self._removals = removals

    def restart_scheduled(self, member: Member, restart: ScheduleRestart) -> None:
        """Record a worker that ended although it is wanted; another one follows."""
        member.restarts[restart.reason] += 1
        self._record_failure(member, restart.reason, f"next start after {restart.delay:.3g} s")
        _log.warning(
            "worker ended: %s; the next one starts in %.3g s",
            member.complaint,
            restart.delay,
            extra={
                **member.fields,
                "reason": restart.reason.value,
                "restarts": member.restarts.total(),
            },
        )

    def replaced(self, member: Member, reason: ExitClass, seconds: float) -> None:
        """Record a worker that was replaced as planned, and took `seconds` to end."""
        member.restarts[reason] += 1
        self.drains.add(member.consumer, seconds)
        fields = {"reason": reason.value, "left": member.left, "drain_seconds": round(seconds, 3)}
        _log.info("worker replaced", extra={**member.fields, **fields})

    def failed(self, member: Member, reason: ExitClass, why: str) -> None:
        """Record a slot that has failed for good although it is wanted."""
        self._record_failure(member, reason, f"failed for good: {why}")
        self._end(member, reason, failed=True)
        _log.error(
            "failed for good: %s; not started again: %s",
            member.complaint,
            why,
            extra={**member.fields, "reason": reason.value},
        )

    def finished(self, member: Member, reason: ExitClass) -> None:
        """Record a slot that has ended as requested."""
        outcome = self._end(member, reason, failed=False)
        fields = {
            **member.fields,
            "reason": reason.value,
            "drain_seconds": round(outcome.seconds, 3),
            "left": outcome.left,
            "killed": outcome.killed,
        }
        if outcome.clean:
            _log.info("worker ended", extra=fields)
        else:
            self.failures.add(_failure(member, reason, "no restart: a stop was requested"))
            _log.warning("worker ended badly: %s", member.complaint, extra=fields)

    def _record_failure(self, member: Member, reason: ExitClass, consequence: str) -> None:
        if reason is not ExitClass.DONE:
            member.last_failure = _failure(member, reason, consequence)
            self.failures.add(member.last_failure)

    def _end(self, member: Member, reason: ExitClass, *, failed: bool) -> SlotOutcome:
        slot = member.slot
        outcome = SlotOutcome(
            consumer=member.consumer,
            slot=member.index,
            pid=member.pid,
            reason=reason,
            seconds=0.0 if slot.drain_began is None else time.monotonic() - slot.drain_began,
            left=member.left,
            killed=slot.killed,
            failed=failed,
        )
        member.outcome = outcome
        if slot.drain_began is not None:
            self.drains.add(member.consumer, outcome.seconds)
        if member.retired or slot.wanted:
            self.remove_from_group(member)
        return outcome

    def remove_from_group(self, member: Member) -> None:
        """Remove the members that an ended slot has left in its group, if there are any."""
        if self._removals is not None:
            self._removals.remove(member)
            member.dead_members = member.dead_members.succeeded()


def _failure(member: Member, reason: ExitClass, consequence: str) -> WorkerFailure:
    return WorkerFailure(
        consumer=member.consumer,
        slot=member.index,
        pid=member.pid,
        reason=reason,
        message=member.complaint,
        at=time.time(),
        consequence=consequence,
    )
