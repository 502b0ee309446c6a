"""What is remembered and told of the ends of workers: restarts, failures, drains."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from supervisor.failures import Failures
from supervisor.fleet.drains import Drains
from supervisor.fleet.member import Ended, Failure
from supervisor.slot.restart import ExitClass

if TYPE_CHECKING:
    from supervisor.fleet.group_removal import Removals
    from supervisor.fleet.member import Member
    from supervisor.slot.events import ScheduleRestart

log = logging.getLogger("supervisor")


class Endings:
    """The ends of a fleet's workers.

    Args:
        removals: Takes slots out of their groups that are gone for good; None: nobody does.
    """

    def __init__(self, removals: Removals | None) -> None:
        self.failures = Failures()
        self.drains = Drains()
        self._removals = removals

    def retrying(self, member: Member, retry: ScheduleRestart) -> None:
        """It ended although it is wanted; another one follows after a delay."""
        member.restarts[retry.reason] += 1
        self._remember(member, retry.reason, f"next start after {retry.delay:.3g} s")
        log.warning(
            "worker ended: %s; the next one starts in %.3g s",
            member.complaint,
            retry.delay,
            extra={
                **member.fields,
                "reason": retry.reason.value,
                "restarts": member.restarts.total(),
            },
        )

    def renewed(self, member: Member, reason: ExitClass, seconds: float) -> None:
        """It was replaced as planned, and took so long to end."""
        member.restarts[reason] += 1
        self.drains.add(member.consumer, seconds)
        facts = {"reason": reason.value, "left": member.left, "drain_seconds": round(seconds, 3)}
        log.info("worker replaced", extra={**member.fields, **facts})

    def failed(self, member: Member, reason: ExitClass, why: str) -> None:
        """It ended, and the slot with it, although it is wanted."""
        self._remember(member, reason, f"failed for good: {why}")
        self._end(member, reason, failed=True)
        log.error(
            "failed for good: %s; not started again: %s",
            member.complaint,
            why,
            extra={**member.fields, "reason": reason.value},
        )

    def gone(self, member: Member, reason: ExitClass) -> None:
        """It ended as it was to."""
        ended = self._end(member, reason, failed=False)
        if not ended.clean:
            self.failures.add(member, reason, time.time(), "none follows: it was to end")
        log.log(
            logging.INFO if ended.clean else logging.WARNING,
            "worker ended" if ended.clean else f"worker ended badly: {member.complaint}",
            extra={
                **member.fields,
                "reason": reason.value,
                "drain_seconds": round(ended.seconds, 3),
                "left": ended.left,
                "killed": ended.killed,
            },
        )

    def _remember(self, member: Member, reason: ExitClass, consequence: str) -> None:
        if reason is not ExitClass.DONE:
            now = time.time()
            member.last_failure = Failure(reason, member.complaint, now)
            self.failures.add(member, reason, now, consequence)

    def _end(self, member: Member, reason: ExitClass, *, failed: bool) -> Ended:
        slot = member.slot
        member.ended = Ended(
            consumer=member.consumer,
            slot=member.index,
            pid=member.pid,
            reason=reason,
            seconds=0.0 if slot.asked is None else time.monotonic() - slot.asked,
            left=member.left,
            killed=slot.killed,
            failed=failed,
        )
        if slot.asked is not None:
            self.drains.add(member.consumer, member.ended.seconds)
        if member.retired or slot.wanted:
            self.remove(member)
        return member.ended

    def remove(self, member: Member) -> None:
        """Take out of its group what an ended slot has left there, if anything."""
        if self._removals is not None:
            self._removals.remove(member)
            member.departed = member.departed.succeeded()
