"""Which slots a configuration asks for, and what each is to run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.protocol import Start
    from supervisor.slot.machine import SlotPolicy


@dataclass(frozen=True, slots=True, order=True)
class SlotKey:
    """A slot's name: the consumer's, and its number there."""

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
        """The partitions that it holds whatever the group says; none if the group decides."""
        return frozenset(self.start.consumer.get("partitions") or ())
