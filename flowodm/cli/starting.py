"""The option --from: where to start in a topic. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowodm.consumer.engine.start import Extent, Moment, Start, parse, position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MEANINGS = (
    "earliest, latest, an offset, -N (the last N records of each partition), a time such as "
    "2026-01-31T12:00 (local unless it has a time zone), or an age such as 30s, 15m, 2h, 7d."
)
"""The values of the option, for its help and for errors."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Last:
    """The last records of each partition.

    Attributes:
        count: The number of records.
    """

    count: int


def parse_from(text: str, now: datetime) -> Start | Last:
    """Parse the option's value.

    Args:
        text: The value.
        now: The current time, with the local time zone.

    Raises:
        ValueError: The value is not one of MEANINGS.
    """
    if re.fullmatch(r"\d+", text, re.ASCII):
        return parse(int(text))
    if re.fullmatch(r"-\d+", text, re.ASCII):
        return Last(int(text[1:]))
    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII):
        try:
            return parse(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        except OverflowError:
            return parse("earliest")
    if text in {"earliest", "latest"}:
        return parse(text)
    try:
        moment = datetime.fromisoformat(text)
        return parse(moment if moment.tzinfo else moment.astimezone())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not one of: {MEANINGS}") from None


def start_offsets(
    start: Start | Last,
    extents: Mapping[int, tuple[int, int]],
    offsets_at: Callable[[int], Mapping[int, int]],
) -> dict[int, int]:
    """Return the offset at which to start in each partition.

    Args:
        start: The result of :func:`parse_from`.
        extents: The first and the next offset of each partition.
        offsets_at: Returns the offsets of a time in milliseconds since 1970.
    """
    if isinstance(start, Last):
        return {n: max(first, end - start.count) for n, (first, end) in extents.items()}
    at_time = offsets_at(start.milliseconds) if isinstance(start, Moment) else {}
    offsets = {}
    for number, (first, end) in extents.items():
        offset = position(start, number, Extent(first, end, at_time.get(number)))
        offsets[number] = first if offset is None else offset
    return offsets
