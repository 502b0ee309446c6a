"""What was produced against what was processed. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNCONFIRMED = -1
"""In place of a partition: the broker has not confirmed the order."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the produced orders at one consumer.

    Attributes:
        processed: Confirmed orders that it processed, each counted once.
        repeats: How often it processed one again.
        missing: Confirmed orders that it did not process.
        unknown: Orders that it processed and nobody produced.
    """

    processed: int
    repeats: int
    missing: tuple[int, ...]
    unknown: tuple[int, ...]

    def complaint(self, consumer: str) -> str:
        """What is wrong, in words; "" if nothing is."""
        parts = []
        if self.missing:
            parts.append(f"never processed {_some(self.missing)}")
        if self.unknown:
            parts.append(f"processed {_some(self.unknown)}, which nobody produced")
        return f"{consumer} {' and '.join(parts)}" if parts else ""


def _some(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"order {shown}{more}" if len(numbers) == 1 else f"orders {shown}{more}"


def tally(partitions: Sequence[int], processed: Iterable[int]) -> Tally:
    """Compare.

    Args:
        partitions: For each order, by its number, the partition that the broker confirmed, or
            UNCONFIRMED; an unconfirmed order may have arrived or not.
        processed: The numbers of the orders that a consumer processed, as often as it did.
    """
    counts = Counter(processed)
    confirmed = [number for number, place in enumerate(partitions) if place != UNCONFIRMED]
    return Tally(
        processed=sum(number in counts for number in confirmed),
        repeats=counts.total() - len(counts),
        missing=tuple(number for number in confirmed if number not in counts),
        unknown=tuple(sorted(number for number in counts if not 0 <= number < len(partitions))),
    )


def partitions_of(
    partitions: Sequence[int], processed: Iterable[int], *, since: int
) -> frozenset[int]:
    """The partitions of which a worker has processed orders with the number `since` or a later one.

    Args:
        partitions: As for `tally`.
        processed: What the worker processed.
        since: The first order that counts.
    """
    return frozenset(
        partitions[number] for number in processed if since <= number < len(partitions)
    )


def summary(produced: int, tallies: Mapping[str, Tally], restarted: int) -> str:
    """The demo's last line."""
    shares = ", ".join(f"{_share(tally)} by {consumer}" for consumer, tally in tallies.items())
    return f"produced {produced}, processed {shares}, restarted {restarted}"


def _share(tally: Tally) -> str:
    left = f", {len(tally.missing)} left in the topic" if tally.missing else ""
    return f"{tally.processed} ({tally.repeats} repeated{left})"
