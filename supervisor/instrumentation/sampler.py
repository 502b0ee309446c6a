"""Measuring the fleet regularly: rates from heartbeats, CPU time and memory from the kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from supervisor.instrumentation import status
from supervisor.instrumentation.history import Figures, FleetSample, History, Rate
from supervisor.process.proc_stat import Spent, usage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.fleet.member import Member
    from supervisor.fleet.slot_spec import SlotKey


INTERVAL = 1.0
"""Seconds between two measurements; each worker sends a heartbeat in that time."""


@dataclass(slots=True)
class _WorkerMeasurements:
    """The measurements of one slot's workers."""

    rate: Rate = field(default_factory=Rate)
    spent: Spent = field(default_factory=Spent)


class Sampler:
    """Keeps the measurements of all workers, and the fleet's history.

    Args:
        members: Returns the slots as they are now.
    """

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        self._members = members
        self._measurements: dict[SlotKey, _WorkerMeasurements] = {}
        self._history = History()
        self._latest: float | None = None

    def look(self, now: float) -> None:
        """Measure, if it is time. Call it at least once a second; more often costs nothing."""
        if self._latest is not None and now - self._latest < INTERVAL:
            return
        self._latest = now
        members = self._members()
        for member in members:
            if member.heard_at is not None:
                self._measurements_of(member).rate.add(member.heard_at, member.processed)
        if self._history.due(now):
            self._sample(members, now)

    def _sample(self, members: Sequence[Member], now: float) -> None:
        for member in members:
            if member.pid is not None and (usage := usage_of(member.pid)) is not None:
                self._measurements_of(member).spent.add(usage)
        figures = {
            name: Figures(sum(member.processed for member in slots), status.lag(slots))
            for name, slots in status.by_consumer(members).items()
        }
        self._history.add(FleetSample(now, figures))
        keys = {member.key for member in members}
        for key in self._measurements.keys() - keys:
            del self._measurements[key]

    def measured(self, member: Member, now: float) -> status.Measured:
        """Return what was measured of a worker. May be called from any thread."""
        measurements = self._measurements.get(member.key)
        if measurements is None:
            return status.Measured()
        return status.Measured(
            records_per_second=measurements.rate.per_second(now),
            cpu_seconds=measurements.spent.cpu_seconds,
            resident_bytes=measurements.spent.resident_bytes(member.pid),
        )

    def history(self, now: float) -> dict[str, Any]:
        """Return what /history shows. May be called from any thread."""
        return self._history.shown(now)

    def _measurements_of(self, member: Member) -> _WorkerMeasurements:
        return self._measurements.setdefault(member.key, _WorkerMeasurements())
