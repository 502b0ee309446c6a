"""Comparing the orders that were produced with those that were processed. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNCONFIRMED = -1
"""Stands for the partition of an order that the broker has not confirmed."""
_SHOWN = 5
"""Numbers of orders that a complaint shows."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How one consumer has processed the orders.

    Attributes:
        processed: Number of confirmed orders that it processed.
        repeats: Number of times that it processed an order again.
        missing: Confirmed orders that it did not process.
        unknown: Orders that it processed and that were not produced.
    """

    processed: int
    repeats: int
    missing: tuple[int, ...]
    unknown: tuple[int, ...]

    def complaint(self, consumer: str) -> str:
        """Say what is wrong; "" if nothing is."""
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
    """Compare the orders of one consumer.

    Args:
        partitions: For each order, by its number, the partition that the broker confirmed, or
            UNCONFIRMED; an unconfirmed order may have arrived or not.
        processed: The number of each order that the consumer processed, as often as it did.
    """
    counts = Counter(processed)
    confirmed = [number for number, at in enumerate(partitions) if at != UNCONFIRMED]
    return Tally(
        processed=sum(number in counts for number in confirmed),
        repeats=counts.total() - len(counts),
        missing=tuple(number for number in confirmed if number not in counts),
        unknown=tuple(sorted(number for number in counts if not 0 <= number < len(partitions))),
    )


def partitions_of(
    partitions: Sequence[int], processed: Iterable[int], *, since: int
) -> frozenset[int]:
    """Return the partitions of which a worker has processed orders from number `since` on.

    Args:
        partitions: As for `tally`.
        processed: The orders that the worker processed.
        since: The first order that counts.
    """
    return frozenset(
        partitions[number] for number in processed if since <= number < len(partitions)
    )


def summary(produced: int, tallies: Mapping[str, Tally], restarted: int) -> str:
    """Make the demo's last line."""
    shares = ", ".join(f"{_share(tally)} by {consumer}" for consumer, tally in tallies.items())
    return f"produced {produced}, processed {shares}, restarted {restarted}"


def _share(tally: Tally) -> str:
    left = f", {len(tally.missing)} left in the topic" if tally.missing else ""
    return f"{tally.processed} ({tally.repeats} repeated{left})"
