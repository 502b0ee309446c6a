"""Looks at the fleet regularly: rates from its heartbeats, costs from the kernel, a history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from supervisor.instrumentation import status
from supervisor.instrumentation.history import Figures, History, Rate, Sample
from supervisor.process.proc_stat import Spent, usage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.fleet.member import Member
    from supervisor.fleet.slot_spec import SlotKey


LOOK = 1.0
"""Seconds between two looks at what the workers did; each beats once in that time."""


@dataclass(slots=True)
class _Seen:
    rate: Rate = field(default_factory=Rate)
    spent: Spent = field(default_factory=Spent)


class Sampler:
    """What is known of the fleet beyond its present state.

    Args:
        members: Gives the slots of this moment.
    """

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        self._members = members
        self._seen: dict[SlotKey, _Seen] = {}
        self._history = History()
        self._looked: float | None = None

    def look(self, now: float) -> None:
        """Take what is new. To be called at least once a second; more often costs nothing."""
        if self._looked is not None and now - self._looked < LOOK:
            return
        self._looked = now
        members = self._members()
        for member in members:
            if member.heard_at is not None:
                self._of(member).rate.add(member.heard_at, member.processed)
        if self._history.due(now):
            self._sample(members, now)

    def _sample(self, members: Sequence[Member], now: float) -> None:
        for member in members:
            if member.pid is not None and (usage := usage_of(member.pid)) is not None:
                self._of(member).spent.add(usage)
        figures = {
            name: Figures(sum(member.processed for member in slots), status.lag(slots))
            for name, slots in status.by_consumer(members).items()
        }
        self._history.add(Sample(now, figures))
        wanted = {member.key for member in members}
        self._seen = {key: seen for key, seen in self._seen.items() if key in wanted}

    def measured(self, member: Member, now: float) -> status.Measured:
        """What a worker does and costs. From any thread."""
        seen = self._seen.get(member.key)
        if seen is None:
            return status.Measured()
        return status.Measured(
            records_per_second=seen.rate.per_second(now),
            cpu_seconds=seen.spent.cpu_seconds,
            resident_bytes=seen.spent.resident_bytes(member.pid),
        )

    def history(self, now: float) -> dict[str, Any]:
        """What /history shows. From any thread."""
        return self._history.shown(now)

    def _of(self, member: Member) -> _Seen:
        return self._seen.setdefault(member.key, _Seen())
