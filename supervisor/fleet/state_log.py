"""The latest state changes of all slots. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor.fleet.slot_spec import SlotKey
    from supervisor.slot.machine import SlotState

KEPT = 1000
"""Number of changes that are kept."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """A slot went from one state to another.

    Attributes:
        number: Counts all changes since the supervisor's start, from 1.
        at: When, in seconds since the epoch.
        consumer: The consumer's name.
        slot: The slot's number.
        pid: Its process at that moment, if there was one.
        before: The old state.
        after: The new state.
        why: The reason, if it is known; else "".
    """

    number: int
    at: float
    consumer: str
    slot: int
    pid: int | None
    before: SlotState
    after: SlotState
    why: str = ""

    def shown(self) -> dict[str, Any]:
        """Return the change ready for JSON."""
        return {
            "number": self.number,
            "at": self.at,
            "consumer": self.consumer,
            "slot": self.slot,
            "pid": self.pid,
            "before": self.before.value,
            "after": self.after.value,
            "why": self.why,
        }


class StateLog:
    """The latest `KEPT` changes."""

    def __init__(self) -> None:
        self.latest: tuple[StateChange, ...] = ()
        """Oldest first; replaced, never changed in place, so that any thread may read it."""

    def add(
        self,
        slot: SlotKey,
        pid: int | None,
        *,
        before: SlotState,
        after: SlotState,
        at: float,
        why: str = "",
    ) -> None:
        """Append a change, and drop the oldest one if there are too many."""
        number = self.latest[-1].number + 1 if self.latest else 1
        change = StateChange(
            number,
            at,
            consumer=slot.consumer,
            slot=slot.index,
            pid=pid,
            before=before,
            after=after,
            why=why,
        )
        self.latest = (*self.latest[1 - KEPT :], change)

    def after(self, number: int) -> list[StateChange]:
        """List the changes after the one with this number; 0: all that are kept."""
        return [change for change in self.latest if change.number > number]
