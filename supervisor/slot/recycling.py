"""When a worker that does nothing wrong is replaced: by its age, its records, its size. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifespan:
    """How much a process may become before another one takes its place. 0: any amount.

    Attributes:
        seconds: Its age.
        records: How many records it has settled.
        resident_bytes: Its memory, with the pages that forked processes share.
        jitter: The share by which each process's own limits are smaller at most: workers that
            started together do not become due together.
    """

    seconds: float = 0.0
    records: int = 0
    resident_bytes: int = 0
    jitter: float = 0.1

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.seconds or self.records or self.resident_bytes)

    def due(self, used: Used, chance: float) -> str | None:
        """Why a process is to be replaced; None if it is not.

        Args:
            used: What it has become.
            chance: A number in [0, 1) that is the process's own.
        """
        share = 1 - self.jitter * chance
        if self.seconds and used.seconds >= self.seconds * share:
            return f"it has run for {used.seconds:.0f} s"
        if self.records and used.records >= self.records * share:
            return f"it has settled {used.records} records"
        if self.resident_bytes and (used.resident_bytes or 0) >= self.resident_bytes * share:
            return f"it has {(used.resident_bytes or 0) / 1e6:.0f} MB of memory"
        return None


@dataclass(frozen=True, slots=True)
class Used:
    """What a process has become; the memory is None where nobody knows it."""

    seconds: float
    records: int
    resident_bytes: int | None = None
