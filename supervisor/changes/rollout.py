"""Replacing workers one after the other: the next one only when the last is at work. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from supervisor.changes.plan import RolloutStep
    from supervisor.fleet.slot_spec import SlotKey
    from supervisor.slot.restart import ExitClass


@dataclass(frozen=True, slots=True)
class SlotView:
    """What a rollout looks at in a slot.

    Attributes:
        process: The number of its current process; 0 if it has none.
        at_work: Whether that process is assigned and makes progress, or has nothing to do.
        over: Whether the slot has ended for good.
    """

    process: int
    at_work: bool
    over: bool


@dataclass(frozen=True, slots=True)
class Replaceable:
    """A step that waits for its turn.

    Attributes:
        step: The slots.
        reason: What their ends are counted under.
    """

    step: RolloutStep
    reason: ExitClass


@dataclass(frozen=True, slots=True)
class BeginReplacement:
    """Replace this slot's process now; its successor waits for `ReleaseSlot` if it is to hold."""

    key: SlotKey
    reason: ExitClass
    hold: bool


@dataclass(frozen=True, slots=True)
class ReleaseSlot:
    """This slot's successor may start."""

    key: SlotKey


RolloutAction = BeginReplacement | ReleaseSlot


@dataclass(frozen=True, slots=True)
class Rollout:
    """What is to be replaced and how far it has come.

    Attributes:
        waiting: The steps to come.
        current: The step under way.
        before: The processes that its slots had.
        freed: Whether its successors may start.
        deadline: When they have to be at work (monotonic seconds).
        halted: Why the rest was given up; "" if it was not.
    """

    waiting: tuple[Replaceable, ...] = ()
    current: RolloutStep | None = None
    before: Mapping[SlotKey, int] = field(default_factory=dict)
    freed: bool = False
    deadline: float = 0.0
    halted: str = ""

    @property
    def under_way(self) -> bool:
        """Whether something is being replaced, or waits for that."""
        return self.current is not None or bool(self.waiting)

    @property
    def slots(self) -> frozenset[SlotKey]:
        """The slots that are or will be replaced."""
        keys = {key for waiting in self.waiting for key in waiting.step}
        return frozenset(keys | (self.current or frozenset()))

    def then(self, steps: Iterable[RolloutStep], reason: ExitClass) -> Rollout:
        """The same with more to do; a slot that waits already is not replaced twice."""
        known = {key for waiting in self.waiting for key in waiting.step}
        more = [Replaceable(step, reason) for step in steps if not step <= known]
        return replace(self, waiting=(*self.waiting, *more), halted="")

    def except_for(self, reason: ExitClass) -> Rollout:
        """The same without the steps that wait for this reason: they are planned anew."""
        return replace(self, waiting=tuple(w for w in self.waiting if w.reason is not reason))


def advance(
    rollout: Rollout, views: Mapping[SlotKey, SlotView], now: float, patience: float
) -> tuple[Rollout, tuple[RolloutAction, ...]]:
    """Go on as far as the slots allow.

    Args:
        rollout: How far it was.
        views: The slots; one that is not there any more does not hold anything up.
        now: Monotonic seconds.
        patience: Seconds within which a successor has to be at work. Past them the rest of the
            slots keep their processes: a change that does not work should not reach all of them.
    """
    if rollout.current is None:
        return _begin(rollout, views, now, patience) if rollout.waiting else (rollout, ())
    present = [key for key in sorted(rollout.current) if key in views]
    if not rollout.freed:
        if any(views[key].process == rollout.before.get(key) != 0 for key in present):
            return rollout, ()
        freed = replace(rollout, freed=True, deadline=now + patience)
        return freed, tuple(ReleaseSlot(key) for key in present)
    late = [key for key in present if not _renewed(rollout, key, views[key])]
    if not late:
        return replace(rollout, current=None), ()
    broken = [key for key in late if views[key].over]
    if broken or now >= rollout.deadline:
        names = ", ".join(map(str, broken or late))
        why = "failed for good" if broken else f"not at work within {patience:g} s"
        return Rollout(halted=f"{names}: {why}"), ()
    return rollout, ()


def _begin(
    rollout: Rollout, views: Mapping[SlotKey, SlotView], now: float, patience: float
) -> tuple[Rollout, tuple[RolloutAction, ...]]:
    following, *waiting = rollout.waiting
    present = [key for key in sorted(following.step) if key in views]
    hold = len(present) > 1
    begun = replace(
        rollout,
        waiting=tuple(waiting),
        current=frozenset(present) or None,
        before={key: views[key].process for key in present},
        freed=not hold,
        deadline=now + patience,
    )
    return begun, tuple(BeginReplacement(key, following.reason, hold) for key in present)


def _renewed(rollout: Rollout, key: SlotKey, view: SlotView) -> bool:
    return view.at_work and view.process != rollout.before.get(key)
