"""Contenders take turns, so that a busy machine slows each of them alike; medians are compared."""

from __future__ import annotations

import dataclasses
import gc
import statistics
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

#: The contender that the others are compared with.
BY_HAND = "by hand"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        part: Which contest.
        name: Who or what was measured.
        value: What was measured, in ``unit``.
        unit: Of the value.
        ratio: Against the hand-written equivalent in the same run, if there is one.
        target: What is asked for, in words; empty if nothing is.
        met: Whether it is so; None if nothing is asked for.
    """

    part: str
    name: str
    value: float
    unit: str
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


def take_turns(rounds: int, contenders: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run all contenders in each round, each time another one first."""
    results: dict[str, list[T]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            gc.collect()
            results[name].append(contenders[name]())
    return results


def rates(
    part: str, records: int, seconds: Mapping[str, Sequence[float]], floors: Mapping[str, float]
) -> list[Row]:
    """Records a second; the ratio to the hand-written loop is above 1 where a loop is faster."""
    hand = statistics.median(seconds[BY_HAND])
    rows = []
    for name, times in seconds.items():
        median = statistics.median(times)
        floor, ratio = floors.get(name), hand / median
        target = "" if floor is None else f"ratio >= {floor}"
        met = None if floor is None else ratio >= floor
        rows.append(Row(part, name, records / median, "records/s", ratio, target, met))
    return rows


def durations(
    part: str,
    seconds: Mapping[str, Sequence[float]],
    hand: str,
    ceilings: Mapping[str, float],
) -> list[Row]:
    """Seconds; the ratio to the hand-written loop is below 1 where a loop is faster."""
    base = statistics.median(seconds[hand])
    rows = []
    for name, times in seconds.items():
        median = statistics.median(times)
        ceiling, ratio = ceilings.get(name), median / base
        target = "" if ceiling is None else f"time ratio <= {ceiling}"
        met = None if ceiling is None else ratio <= ceiling
        rows.append(Row(part, name, median, "s", ratio, target, met))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The report as a person reads it."""
    lines = []
    part = ""
    for row in rows:
        if row.part != part:
            part = row.part
            lines += ["", part]
        ratio = "" if row.ratio is None else f"x{row.ratio:.2f}"
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        lines.append(
            f"  {row.name:52} {row.value:12,.3f} {row.unit:10} {ratio:>7}  {row.target:24} "
            f"{verdict}".rstrip()
        )
    return "\n".join(lines[1:])
