"""What a new configuration changes for the slots that there are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.fleet.slot_spec import SlotKey, SlotSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


RolloutStep = frozenset[SlotKey]
"""Slots that are replaced together: no successor starts before the last predecessor has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done, slot by slot.

    Attributes:
        added: Slots that are new.
        removed: Slots that are not wanted any more.
        steps: Slots whose processes are to be replaced, in this order; mostly one at a time.
            Slots that are added or removed are in a step where they have to wait for others,
            or others for them.
    """

    added: tuple[SlotKey, ...]
    removed: tuple[SlotKey, ...]
    steps: tuple[RolloutStep, ...]

    @property
    def nothing(self) -> bool:
        """Whether no process is started or ended."""
        return not (self.added or self.removed or self.steps)


def plan(running: Mapping[SlotKey, SlotSpec], wanted: Mapping[SlotKey, SlotSpec]) -> Plan:
    """Compare what runs with what is wanted.

    A pinned partition belongs to one process at a time, and nobody but this plan sees to that:
    Kafka does not know such consumers as members. So where partitions move between the slots
    of a consumer, all of its slots that change are replaced in one step.

    Args:
        running: What each slot's process was started with; for one that has none, what it would.
        wanted: What each slot is to run.
    """
    added = tuple(key for key in wanted if key not in running)
    removed = tuple(key for key in running if key not in wanted)
    changed = [key for key in wanted if key in running and wanted[key].start != running[key].start]
    together: list[RolloutStep] = []
    one_by_one: list[RolloutStep] = []
    for consumer in dict.fromkeys(key.consumer for key in (*changed, *added, *removed)):
        mine = [key for key in changed if key.consumer == consumer]
        if _layout(running, consumer) != _layout(wanted, consumer):
            new, gone = ([k for k in keys if k.consumer == consumer] for keys in (added, removed))
            if mine or (new and gone):  # else nobody hands anything over
                together.append(frozenset([*mine, *new, *gone]))
        else:
            one_by_one += [frozenset({key}) for key in mine]
    return Plan(added, removed, (*together, *one_by_one))


def _layout(slots: Mapping[SlotKey, SlotSpec], consumer: str) -> dict[SlotKey, frozenset[int]]:
    """Which slot of a consumer holds which pinned partitions."""
    mine = {key: what.pinned for key, what in slots.items() if key.consumer == consumer}
    return {key: pinned for key, pinned in mine.items() if pinned}
