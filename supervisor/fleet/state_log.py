"""The latest changes of state of all slots, a bounded list. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor.slot.machine import SlotState

KEPT = 1000
"""Changes that are remembered."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """One slot went from one state to another.

    Attributes:
        number: Of all changes since the supervisor's start, from 1.
        at: When, in seconds since the epoch.
        consumer: The consumer's name.
        slot: The slot's number.
        pid: Its process at that moment, if there was one.
        before: The state that it left.
        after: The state that it is in.
        why: What led to it, where that is known; "" elsewhere.
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
        """The same, ready for JSON."""
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
    """The last `KEPT` changes."""

    def __init__(self) -> None:
        self.latest: tuple[StateChange, ...] = ()
        """Oldest first; replaced, never changed, so that any thread may read it."""

    def add(
        self,
        slot: tuple[str, int],
        pid: int | None,
        before: SlotState,
        after: SlotState,
        *,
        at: float,
        why: str = "",
    ) -> None:
        """Take one change."""
        number = self.latest[-1].number + 1 if self.latest else 1
        change = StateChange(number, at, *slot, pid, before, after, why)
        self.latest = (*self.latest[1 - KEPT :], change)

    def after(self, number: int) -> list[StateChange]:
        """The changes behind one that is known; 0: all that are remembered."""
        return [change for change in self.latest if change.number > number]
