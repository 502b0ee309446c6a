"""What --from means. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowodm.consumer.engine.start import Extent, Moment, Start, parse, position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MEANINGS = (
    "earliest, latest, an offset, -N (the last N of each partition), a time such as "
    "2026-01-31T12:00 (local, unless it has a zone), or how long ago, such as 30s, 15m, 2h, 7d."
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Last:
    """So many records before the end of each partition."""

    count: int


def parse_from(text: str, now: datetime) -> Start | Last:
    """Read the option.

    Args:
        text: What the user wrote.
        now: For how long ago; with a time zone, the local one.

    Raises:
        ValueError: It is none of what MEANINGS says.
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
        raise ValueError(f"{text!r} is none of: {MEANINGS}") from None


def beginnings(
    start: Start | Last,
    extents: Mapping[int, tuple[int, int]],
    offsets_at: Callable[[int], Mapping[int, int]],
) -> dict[int, int]:
    """The offset at which each partition begins.

    Args:
        start: What :func:`parse_from` gave.
        extents: First and next offset of each partition.
        offsets_at: Asked for the offsets of a moment, in milliseconds since 1970.
    """
    if isinstance(start, Last):
        return {n: max(first, end - start.count) for n, (first, end) in extents.items()}
    at = offsets_at(start.milliseconds) if isinstance(start, Moment) else {}
    found = {}
    for number, (first, end) in extents.items():
        place = position(start, number, Extent(first, end, at.get(number)))
        found[number] = first if place is None else place
    return found
