"""Decide where a group begins that has committed nothing for a partition. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Edge(Enum):
    """Either end of a partition: its first record, or behind its last one."""

    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Moment:
    """The first record with this timestamp or a later one; behind the last one if there is none.

    Attributes:
        milliseconds: Unix time, as Kafka's timestamps are.
    """

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset for each partition, moved into what the partition holds.

    Attributes:
        everywhere: For every partition; None if each has its own.
        by_partition: Partition number to offset. A partition that is not in it begins where
            ``auto.offset.reset`` says.
    """

    everywhere: int | None
    by_partition: Mapping[int, int]


Start = Edge | Moment | Offsets


@dataclass(frozen=True, slots=True)
class Extent:
    """What a broker says of a partition.

    Attributes:
        first: The offset of its first record.
        end: The offset that its next record gets.
        at_moment: The offset that a Moment leads to; None if there is no such record, or if
            nobody asked.
    """

    first: int
    end: int
    at_moment: int | None = None


def parse(value: object) -> Start:
    """Read the argument ``start_from`` of a loop.

    Args:
        value: "earliest" or "latest"; a datetime with a time zone; an offset for every
            partition; or a mapping of partition numbers to offsets.

    Raises:
        ValueError: It is none of these; the message says what is wrong with it.
    """
    if isinstance(value, Edge | Moment | Offsets):
        return value
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, Mapping):
        return _by_partition(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Offsets(_offset("start_from", value), {})
    try:
        return Edge(value)
    except ValueError:
        raise ValueError(
            "start_from must be 'earliest', 'latest', a datetime with a time zone, an offset, or "
            f"a mapping of partition numbers to offsets, not {value!r}"
        ) from None


def position(start: Start, partition: int, extent: Extent) -> int | None:
    """Return the offset at which a partition begins; None if ``start`` does not say."""
    match start:
        case Edge.EARLIEST:
            return extent.first
        case Edge.LATEST:
            return extent.end
        case Moment():
            return extent.end if extent.at_moment is None else extent.at_moment
        case Offsets(everywhere, by_partition):
            wanted = by_partition.get(partition, everywhere)
            return None if wanted is None else min(max(wanted, extent.first), extent.end)


def _moment(value: datetime) -> Moment:
    if value.utcoffset() is None:
        raise ValueError(
            f"start_from={value.isoformat()} has no time zone: write "
            "datetime(..., tzinfo=timezone.utc), or value.astimezone() for local time"
        )
    # Negative numbers are no times but commands in Kafka's protocol.
    return Moment(max(int(value.timestamp() * 1000), 0))


def _by_partition(value: Mapping[object, object]) -> Offsets:
    if not value:
        raise ValueError("start_from is an empty mapping: it names no partition")
    offsets = {}
    for partition, offset in value.items():
        number = _offset("a partition number of start_from", partition)
        offsets[number] = _offset(f"start_from[{number}]", offset)
    return Offsets(None, offsets)


def _offset(what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{what} must be an int of 0 or more, not {value!r}")
    return value
