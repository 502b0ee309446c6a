"""Writes the log of a loop: a line for every event that an operator acts on.

Events that may happen for every record, or again and again, are bounded: the first few lines of a
kind are logged in full, the others are counted, and a line of its own gives the count. So the log
of a handler that fails 10,000 times a second stays readable, and shows how often it failed.
"""

from __future__ import annotations

import logging
import threading
import time
from asyncio import CancelledError
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from flowodm.events import (
    Abandoned,
    Blocked,
    Committed,
    DeadLettered,
    Ended,
    Failed,
    Handled,
    LoopState,
    LoopStatus,
    Outcome,
    Rebalanced,
    RebalanceKind,
    StateChanged,
    Trouble,
)
from flowodm.exceptions import LONGEST_SUMMARY, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from flowodm.events import TP, Event

_log = logging.getLogger("flowodm.consumer")

INTERVAL = 30.0
"""Seconds over which lines of one kind are counted."""
IN_FULL = 3
"""The number of failures of one kind that are logged in full in an interval."""
MOST_KINDS = 100
"""The most kinds that are told apart; a kind has an error's text in it."""
MOST_RANGES = 20
"""The most ranges of partitions in one line; an assignment may have thousands, with gaps."""

Fields = dict[str, object]


class LogObserver:
    """Logs the events of a loop with the logger ``flowodm.consumer``.

    A line's text can be read by itself. For JSON logs its fields are also in the log record's
    attribute ``flowodm``, a dict.

    Args:
        group: The loop's consumer group, a field of every line.
        clock: Returns monotonic seconds.
    """

    def __init__(self, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._clock = clock
        self._counts = _RepeatCounts()
        self._outcomes: Counter[Outcome] = Counter()
        self._unfinished = 0
        self._started = clock()

    def __call__(self, event: Event) -> None:
        """Log an event, if it deserves a line."""
        match event:
            case Handled():
                self._handled(event)
            case LoopStatus():
                self._write_counts()
            case StateChanged(LoopState.STOPPED) | DeadLettered() | Committed(_, None):
                pass  # the line of Ended says more; the failure of a dead letter has its line
            case StateChanged(state):
                self._write(logging.INFO, "loop state changed", {"state": state.value})
            case Failed():
                self._failed(event)
            case Committed() | Trouble() | Blocked():
                self._trouble(event)
            case Rebalanced():
                self._rebalanced(event)
            case Abandoned(records):
                self._unfinished += records
                self._write(logging.ERROR, "drain deadline passed", {"unfinished": records})
            case Ended():
                self._write_counts(everything=True)
                self._ended(event)
            case _:
                assert_never(event)

    # ---- a line for each event -------------------------------------------------------------

    def _rebalanced(self, event: Rebalanced) -> None:
        is_usual = event.kind in {RebalanceKind.ASSIGNED, RebalanceKind.REVOKED}
        level = logging.INFO if is_usual else logging.WARNING
        fields: Fields = {"partitions": ranges(event.partitions), "count": len(event.partitions)}
        self._write(level, f"partitions {event.kind.value}", fields)

    def _ended(self, event: Ended) -> None:
        fields: Fields = {
            "reason": event.reason.value,
            "processed": self._outcomes[Outcome.PROCESSED],
        }
        for outcome in Outcome:
            if outcome is not Outcome.PROCESSED and self._outcomes[outcome]:
                fields[outcome.value] = self._outcomes[outcome]
        fields["unfinished"] = self._unfinished
        fields["run_seconds"] = round(self._clock() - self._started, 1)
        fields["drain_seconds"] = round(event.drain_seconds, 3)
        level = logging.INFO
        if event.error is not None:
            fields["error"] = summary(event.error)
            if not isinstance(event.error, CancelledError):
                level = logging.ERROR
        self._write(level, "loop ended", fields)

    # ---- a bounded number of lines ---------------------------------------------------------

    def _handled(self, event: Handled) -> None:
        self._outcomes.update(event.outcomes)
        lost = event.outcomes.get(Outcome.LOST)
        if not lost:
            return
        kind = _Kind(logging.ERROR, "committed records not handled", {"topic": event.topic})
        place: Fields = {"partition": event.partition}
        if self._admit(("lost", event.topic), kind, place, most=IN_FULL, count=lost):
            self._write(kind.level, kind.event, {**kind.fields, **place, "lost": lost})

    def _failed(self, event: Failed) -> None:
        error, final = event.error, event.consequence in {"skip", "stop"}
        shared: Fields = {"stage": event.stage.value, "next": event.consequence}
        place: Fields = {
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
        }
        level = logging.ERROR if final else logging.WARNING
        kind = _Kind(level, "record failed", {**shared, "error": type(error).__name__})
        key = (*kind.fields.values(), _raised_at(error))
        if not self._admit(key, kind, place, most=IN_FULL):
            return
        fields = {**shared, **place, "failures": event.failures, "error": summary(error)}
        if event.delay is not None:
            fields["retry_in"] = round(event.delay, 3)
        is_cut = len(summary(error)) > LONGEST_SUMMARY  # the traceback would have all of it
        cause = error if final and not is_cut else None
        self._write(level, kind.event, fields, cause=cause)

    def _trouble(self, event: Committed | Trouble | Blocked) -> None:
        name, shared, details = _trouble_fields(event)
        kind = _Kind(logging.WARNING, name, shared)
        is_rare = isinstance(event, Blocked) and event.again  # the watchdog bounds these
        if is_rare or self._admit((name, *shared.values()), kind, details, most=1):
            self._write(kind.level, name, {**shared, **details})

    def _admit(
        self, key: Hashable, kind: _Kind, details: Fields, *, most: int, count: int = 1
    ) -> bool:
        """Return whether a line is written; otherwise it is counted."""
        now = self._clock()
        return self._counts.admit(key, kind, details, most=most, count=count, now=now)

    def _write_counts(self, *, everything: bool = False) -> None:
        for kind, fields in self._counts.finished(self._clock(), everything=everything):
            self._write(kind.level, f"repeated: {kind.event}", {**fields, **kind.fields})

    def _write(
        self, level: int, event: str, fields: Fields, *, cause: BaseException | None = None
    ) -> None:
        named = {"group": self._group, **fields}
        text = " ".join(f"{key}={value}" for key, value in named.items())
        extra = {"flowodm": {"event": event, **named}}
        _log.log(level, "%s %s", event, text, exc_info=cause, extra=extra)


def _trouble_fields(event: Committed | Trouble | Blocked) -> tuple[str, Fields, Fields]:
    """Return the line's event, the fields that its kind shares, and the other fields."""
    match event:
        case Committed(offsets, error):
            return "commit failed", {"error": error}, {"of": ranges(offsets)}
        case Trouble(code, message):
            return "kafka client reports trouble", {"code": code}, {"error": message}
        case Blocked(seconds, where, again):
            name = "event loop still blocked" if again else "event loop blocked"
            return name, {"where": where}, {"seconds": round(seconds, 1)}


@dataclass(frozen=True, slots=True)
class _Kind:
    """Level, event and fields that all lines of a kind have in common."""

    level: int
    event: str
    fields: Fields


@dataclass(slots=True)
class _Interval:
    """The lines of one kind since the first one.

    Attributes:
        kind: Their kind.
        since: When the first one came, in monotonic seconds.
        logged: How many were logged in full.
        held_back: How many more there were.
        details: The other fields of the last one.
    """

    kind: _Kind
    since: float
    logged: int = 0
    held_back: int = 0
    details: Fields = field(default_factory=dict)


class _RepeatCounts:
    """Counts the lines of each kind, over an interval that begins with the kind's first line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._intervals: dict[Hashable, _Interval] = {}

    def admit(
        self, key: Hashable, kind: _Kind, details: Fields, *, most: int, count: int, now: float
    ) -> bool:
        """Return whether a line is one of the first of its kind; otherwise count it.

        Args:
            key: Tells the kinds apart.
            kind: The line's kind.
            details: The line's other fields.
            most: The number of lines that are admitted in an interval.
            count: What the line counts for, if it is not admitted.
            now: Monotonic seconds.
        """
        with self._lock:
            if key not in self._intervals and len(self._intervals) >= MOST_KINDS:
                key, kind = kind.event, _Kind(kind.level, kind.event, {"kinds": "several"})
            interval = self._intervals.setdefault(key, _Interval(kind, now))
            if interval.logged < most:
                interval.logged += 1
                return True
            interval.held_back += count
            interval.details = details
            return False

    def finished(self, now: float, *, everything: bool) -> list[tuple[_Kind, Fields]]:
        """Remove the intervals that are over; return the counts of those that held lines back.

        Args:
            now: Monotonic seconds.
            everything: Remove all intervals.
        """
        counts: list[tuple[_Kind, Fields]] = []
        with self._lock:
            for key, interval in list(self._intervals.items()):
                if not everything and now - interval.since < INTERVAL:
                    continue
                del self._intervals[key]
                if interval.held_back:
                    within = round(now - interval.since, 1)
                    fields = {"more": interval.held_back, "within": within, **interval.details}
                    counts.append((interval.kind, fields))
        return counts


def _raised_at(error: BaseException) -> tuple[object, int] | None:
    """Return the code and the line that raised: two bugs may raise the same class."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else (traceback.tb_frame.f_code, traceback.tb_lineno)


def ranges(partitions: Iterable[TP]) -> str:
    """Write partitions for people: "orders[0-7],orders[9]"."""
    merged: list[tuple[str, int, int]] = []
    for topic, number in sorted(partitions):
        if merged and merged[-1][0] == topic and merged[-1][2] == number - 1:
            merged[-1] = (topic, merged[-1][1], number)
        else:
            merged.append((topic, number, number))
    texts = [_range(*each) for each in merged[:MOST_RANGES]]
    if len(merged) > MOST_RANGES:
        texts.append(f"and {len(merged) - MOST_RANGES} more ranges")
    return ",".join(texts) or "none"


def _range(topic: str, first: int, last: int) -> str:
    return f"{topic}[{first}]" if first == last else f"{topic}[{first}-{last}]"
