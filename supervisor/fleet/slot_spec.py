"""The name of a slot, and what it is to run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.protocol import Start
    from supervisor.slot.machine import SlotPolicy


@dataclass(frozen=True, slots=True, order=True)
class SlotKey:
    """The name of a slot: its consumer, and its number within that."""

    consumer: str
    index: int

    def __str__(self) -> str:
        return f"{self.consumer}/{self.index}"


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """What a slot is to run, and with which time-outs and restart policy."""

    start: Start
    policy: SlotPolicy

    @property
    def pinned(self) -> frozenset[int]:
        """The pinned partitions; empty if the consumer group assigns them."""
        return frozenset(self.start.consumer.get("partitions") or ())
