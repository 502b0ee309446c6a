"""Decides when a healthy worker is recycled: by its age, its records, its memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifespan:
    """The limits after which a process is recycled. 0: no limit.

    Attributes:
        seconds: Its age.
        records: How many records it has settled.
        resident_bytes: Its memory; pages that forked processes share count.
        jitter: By which share each process's limits are lowered at most, so that workers that
            started together are not due together.
    """

    seconds: float = 0.0
    records: int = 0
    resident_bytes: int = 0
    jitter: float = 0.1

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.seconds or self.records or self.resident_bytes)

    def due(self, used: Used, jitter: float) -> str | None:
        """Return why a process is to be recycled; None if it is not.

        Args:
            used: What it has used.
            jitter: The process's own number in [0, 1).
        """
        share = 1 - self.jitter * jitter
        if self.seconds and used.seconds >= self.seconds * share:
            return f"it has run for {used.seconds:.0f} s"
        if self.records and used.records >= self.records * share:
            return f"it has settled {used.records} records"
        resident_bytes = used.resident_bytes or 0
        if self.resident_bytes and resident_bytes >= self.resident_bytes * share:
            return f"it has {resident_bytes / 1e6:.0f} MB of memory"
        return None


@dataclass(frozen=True, slots=True)
class Used:
    """What a process has used.

    Attributes:
        seconds: Its age.
        records: How many records it has settled.
        resident_bytes: Its memory; None if it is unknown.
    """

    seconds: float
    records: int
    resident_bytes: int | None = None
