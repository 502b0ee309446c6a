"""The fleet at the end of a turn of the main loop, as its observers get it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.instrumentation import status
from supervisor.slot.machine import FINAL, SlotState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.fleet.member import Member
    from supervisor.slot.machine import SlotPolicy


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the fleet is at one moment.

    Attributes:
        at: The moment, in monotonic seconds.
        workers: How many there should be.
        assigned: Of those, how many are assigned and heard of.
        backing_off: How many wait to be started again.
        failed: How many have failed for good.
        ended: How many have ended for good, failed or not.
        settled: Records settled so far by the workers of all slots that there are.
        ready: Whether every worker is assigned, and nobody asked to stop.
        stopping: Whether somebody asked to stop, or every worker has ended for good.
        drain_deadline: When the last worker will have ended, or been killed and given up, at
            the latest; None while nobody asked to stop. In monotonic seconds.
        reloads: How many reloads have begun so far, refused ones included.
        reloading: Whether the latest of them is still under way.
    """

    at: float
    workers: int
    assigned: int
    backing_off: int
    failed: int
    ended: int
    settled: int
    ready: bool = False
    stopping: bool = False
    drain_deadline: float | None = None
    reloads: int = 0
    reloading: bool = False


Observer = Callable[[Snapshot], None]
"""Called at the end of each turn of the main loop, by it: what blocks holds up the fleet."""


def snapshot(
    members: Sequence[Member],
    now: float,
    *,
    stop_at: float | None,
    reloads: int = 0,
    reloading: bool = False,
) -> Snapshot:
    """The fleet now.

    Args:
        members: All slots.
        now: Monotonic seconds.
        stop_at: When somebody first asked to stop; None if nobody did.
        reloads: How many reloads have begun.
        reloading: Whether the latest is under way.
    """
    states = Counter(member.slot.state for member in members)
    unready = len(status.unready(members, now))
    ended = sum(states[state] for state in FINAL)
    return Snapshot(
        at=now,
        workers=len(members),
        assigned=len(members) - unready,
        backing_off=states[SlotState.BACKING_OFF],
        failed=states[SlotState.FAILED],
        ended=ended,
        settled=sum(member.processed for member in members),
        ready=stop_at is None and not unready,
        stopping=stop_at is not None or ended == len(members),
        drain_deadline=None
        if stop_at is None
        else stop_at + max((_longest_end(member.policy) for member in members), default=0.0),
        reloads=reloads,
        reloading=reloading,
    )


def _longest_end(policy: SlotPolicy) -> float:
    """Seconds from the drain command until the slot is done with, whatever its process does."""
    return policy.drain_timeout + policy.kill_delay + policy.reap_timeout
