"""Replaces workers one after the other: the next one only when the last one is at work. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from supervisor.changes.plan import RolloutStep
    from supervisor.fleet.slot_spec import SlotKey
    from supervisor.slot.restart import ExitClass


@dataclass(frozen=True, slots=True)
class SlotView:
    """What a rollout needs to know of a slot.

    Attributes:
        process: The number of its current process; 0 if it has none.
        at_work: Whether that process is assigned and makes progress, or has nothing to do.
        over: Whether the slot has ended for good.
    """

    process: int
    at_work: bool
    over: bool


@dataclass(frozen=True, slots=True)
class WaitingStep:
    """A step whose turn has not come.

    Attributes:
        step: The slots.
        reason: The reason to count the replacements under.
    """

    step: RolloutStep
    reason: ExitClass


@dataclass(frozen=True, slots=True)
class BeginReplacement:
    """Replace this slot's process now; with `hold` its successor waits for `ReleaseSlot`."""

    key: SlotKey
    reason: ExitClass
    hold: bool


@dataclass(frozen=True, slots=True)
class ReleaseSlot:
    """Let this slot's successor start."""

    key: SlotKey


RolloutAction = BeginReplacement | ReleaseSlot


@dataclass(frozen=True, slots=True)
class Rollout:
    """What is to be replaced, and what has been so far.

    Attributes:
        waiting: The steps to come.
        current: The step under way.
        before: The numbers of the processes that its slots had before it.
        released: Whether its successors may start.
        deadline: When they have to be at work (monotonic seconds).
        halted: Why the rest was given up; "" if it was not.
    """

    waiting: tuple[WaitingStep, ...] = ()
    current: RolloutStep | None = None
    before: Mapping[SlotKey, int] = field(default_factory=dict)
    released: bool = False
    deadline: float = 0.0
    halted: str = ""

    @property
    def under_way(self) -> bool:
        """Whether a slot is being replaced, or waits for that."""
        return self.current is not None or bool(self.waiting)

    @property
    def slots(self) -> frozenset[SlotKey]:
        """The slots that are being replaced, or wait for that."""
        return frozenset(self._waiting_slots() | (self.current or frozenset()))

    def then(self, steps: Iterable[RolloutStep], reason: ExitClass) -> Rollout:
        """Append steps; a slot that waits already is not replaced twice."""
        waiting_slots = self._waiting_slots()
        more = [WaitingStep(step, reason) for step in steps if not step <= waiting_slots]
        return replace(self, waiting=(*self.waiting, *more), halted="")

    def except_for(self, reason: ExitClass) -> Rollout:
        """Drop the steps that wait for this reason: they are planned anew."""
        kept = tuple(waiting for waiting in self.waiting if waiting.reason is not reason)
        return replace(self, waiting=kept)

    def _waiting_slots(self) -> set[SlotKey]:
        return {key for waiting in self.waiting for key in waiting.step}


Progress: TypeAlias = "tuple[Rollout, tuple[RolloutAction, ...]]"
"""The rollout's next state, and the actions to perform, in order."""


def advance(
    rollout: Rollout, views: Mapping[SlotKey, SlotView], now: float, patience: float
) -> Progress:
    """Go on as far as the slots allow.

    Args:
        rollout: The state so far.
        views: The slots; one that is missing does not hold up the rollout.
        now: Monotonic seconds.
        patience: Seconds within which a successor has to be at work. Otherwise the rest of the
            slots keep their processes, so that a change that does not work does not reach all.
    """
    if rollout.current is None:
        if not rollout.waiting:
            return rollout, ()
        return _begin(rollout, views, now, patience=patience)
    present = [key for key in sorted(rollout.current) if key in views]
    if not rollout.released:
        return _release(rollout, present, views, deadline=now + patience)
    return _finish(rollout, present, views, now=now, patience=patience)


def _begin(
    rollout: Rollout, views: Mapping[SlotKey, SlotView], now: float, patience: float
) -> Progress:
    next_step, *waiting = rollout.waiting
    present = [key for key in sorted(next_step.step) if key in views]
    hold = len(present) > 1
    begun = replace(
        rollout,
        waiting=tuple(waiting),
        current=frozenset(present) or None,
        before={key: views[key].process for key in present},
        released=not hold,
        deadline=now + patience,
    )
    return begun, tuple(BeginReplacement(key, next_step.reason, hold) for key in present)


def _release(
    rollout: Rollout,
    present: list[SlotKey],
    views: Mapping[SlotKey, SlotView],
    *,
    deadline: float,
) -> Progress:
    """Let the successors start once every predecessor has ended."""
    if any(_has_predecessor(rollout, key, views[key]) for key in present):
        return rollout, ()
    released = replace(rollout, released=True, deadline=deadline)
    return released, tuple(ReleaseSlot(key) for key in present)


def _finish(
    rollout: Rollout,
    present: list[SlotKey],
    views: Mapping[SlotKey, SlotView],
    *,
    now: float,
    patience: float,
) -> Progress:
    """End the step once every successor is at work; halt if one never will be."""
    missing = [key for key in present if not _is_renewed(rollout, key, views[key])]
    if not missing:
        return replace(rollout, current=None), ()
    failed = [key for key in missing if views[key].over]
    if failed:
        return Rollout(halted=f"{_names(failed)}: failed for good"), ()
    if now >= rollout.deadline:
        return Rollout(halted=f"{_names(missing)}: not at work within {patience:g} s"), ()
    return rollout, ()


def _has_predecessor(rollout: Rollout, key: SlotKey, view: SlotView) -> bool:
    return view.process != 0 and view.process == rollout.before.get(key)


def _is_renewed(rollout: Rollout, key: SlotKey, view: SlotView) -> bool:
    return view.at_work and view.process != rollout.before.get(key)


def _names(keys: list[SlotKey]) -> str:
    return ", ".join(map(str, keys))
