"""Records for the pure modules, which need no Kafka."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """What the engine looks at in a Kafka message."""

    number: int
    name: bytes | None = None
    data: bytes | None = b"12345"

    def offset(self) -> int:
        return self.number

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.data

    def __len__(self) -> int:
        return len(self.data or b"")


def fake_records(first: int, count: int, keys: int = 0) -> list[FakeRecord]:
    """Consecutive records; with ``keys``, the keys go round that many values."""
    return [
        FakeRecord(n, str(n % keys).encode() if keys else None) for n in range(first, first + count)
    ]
