"""The state of the fleet at the end of a turn of the main loop, for observers. Pure."""

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
    """The state of the fleet at one time.

    Attributes:
        at: The time, in monotonic seconds.
        workers: Number of slots.
        assigned: Number of workers that are assigned and send heartbeats.
        backing_off: Number of workers that wait for their restart.
        failed: Number of workers that have failed for good.
        ended: Number of workers that have ended for good, failed or not.
        settled: Records settled so far by the workers of all slots.
        ready: Whether every worker is assigned, and no stop was requested.
        stopping: Whether a stop was requested, or every worker has ended for good.
        drain_deadline: Latest time at which the last worker will have ended, or been killed and
            given up, in monotonic seconds; None if no stop was requested.
        reloads: Number of reloads that have begun, refused ones included.
        reloading: Whether the latest reload is still running.
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
"""Called by the main loop at the end of each turn: if it blocks, the fleet waits."""


def snapshot(
    members: Sequence[Member],
    now: float,
    *,
    stop_at: float | None,
    reloads: int = 0,
    reloading: bool = False,
) -> Snapshot:
    """Make the snapshot of the fleet now.

    Args:
        members: All slots.
        now: Monotonic seconds.
        stop_at: When a stop was first requested; None if it was not.
        reloads: Number of reloads that have begun.
        reloading: Whether the latest reload is still running.
    """
    states = Counter(member.slot.state for member in members)
    unready = len(status.unready(members, now))
    ended = sum(states[state] for state in FINAL)
    drain_deadline = None
    if stop_at is not None:
        longest = max((_longest_end(member.policy) for member in members), default=0.0)
        drain_deadline = stop_at + longest
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
        drain_deadline=drain_deadline,
        reloads=reloads,
        reloading=reloading,
    )


def _longest_end(policy: SlotPolicy) -> float:
    """Return the seconds from the drain command to the end of a slot, whatever its process does."""
    return policy.drain_timeout + policy.kill_delay + policy.reap_timeout
