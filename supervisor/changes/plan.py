"""Plans which slots a new configuration adds, removes and replaces. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.fleet.slot_spec import SlotKey, SlotSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


RolloutStep = frozenset[SlotKey]
"""Slots that are replaced together: no successor starts before the last predecessor has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between two configurations, slot by slot.

    Attributes:
        added: New slots.
        removed: Slots that are no longer wanted.
        steps: Slots whose processes are replaced, in this order; mostly one at a time. Added
            and removed slots are part of a step if they take partitions from, or hand them to,
            its other slots.
    """

    added: tuple[SlotKey, ...]
    removed: tuple[SlotKey, ...]
    steps: tuple[RolloutStep, ...]

    @property
    def nothing(self) -> bool:
        """Whether no process is started or ended."""
        return not (self.added or self.removed or self.steps)

    @property
    def replaced(self) -> list[SlotKey]:
        """Slots whose processes are replaced, without those that are added or removed."""
        in_steps = {key for step in self.steps for key in step}
        return sorted(in_steps - {*self.added, *self.removed})

    @property
    def held(self) -> set[SlotKey]:
        """Slots whose processes must not start before others have ended."""
        shared = [step for step in self.steps if len(step) > 1]
        return set().union(*shared)


def plan(running: Mapping[SlotKey, SlotSpec], wanted: Mapping[SlotKey, SlotSpec]) -> Plan:
    """Compare what runs with what is wanted.

    A pinned partition belongs to one process at a time, and only this plan ensures that: Kafka
    does not know such consumers as members of a group. So if partitions move between the slots
    of a consumer, all of its slots that change are replaced in one step.

    Args:
        running: What each slot's process was started with; for a slot without a process, what
            its next one would be started with.
        wanted: What each slot is to run.
    """
    added = tuple(key for key in wanted if key not in running)
    removed = tuple(key for key in running if key not in wanted)
    changed = [key for key in wanted if _is_changed(running.get(key), wanted[key])]
    together: list[RolloutStep] = []
    one_by_one: list[RolloutStep] = []
    for consumer in _consumers(*changed, *added, *removed):
        own_changed = _of(consumer, changed)
        if _layout(running, consumer) == _layout(wanted, consumer):
            one_by_one += [frozenset({key}) for key in own_changed]
        else:
            together += _handover(own_changed, _of(consumer, added), _of(consumer, removed))
    return Plan(added, removed, (*together, *one_by_one))


def _handover(
    changed: list[SlotKey], added: list[SlotKey], removed: list[SlotKey]
) -> list[RolloutStep]:
    """Put a consumer's slots into one step if one of them takes partitions from another."""
    if changed or (added and removed):
        return [frozenset([*changed, *added, *removed])]
    return []


def _is_changed(running: SlotSpec | None, wanted: SlotSpec) -> bool:
    return running is not None and running.start != wanted.start


def _consumers(*keys: SlotKey) -> list[str]:
    return list(dict.fromkeys(key.consumer for key in keys))


def _of(consumer: str, keys: Iterable[SlotKey]) -> list[SlotKey]:
    return [key for key in keys if key.consumer == consumer]


def _layout(specs: Mapping[SlotKey, SlotSpec], consumer: str) -> dict[SlotKey, frozenset[int]]:
    """Return the pinned partitions of each of a consumer's slots that has some."""
    own = {key: spec.pinned for key, spec in specs.items() if key.consumer == consumer}
    return {key: pinned for key, pinned in own.items() if pinned}
