"""The log of a loop: one line for each thing that an operator acts on, none a record.

What could happen to every record, or again and again, is bounded: the first few lines of a kind
are logged in full, the others are counted, and the count follows in a line of its own. So the
log of a handler that fails 10,000 times a second stays readable, and says how often it failed.
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
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from flowodm.events import TP, Event

#: Seconds over which lines of one kind are counted.
INTERVAL = 30.0
#: So many failures of one kind are logged in full in an interval; of other kinds the first one.
IN_FULL = 3
#: Kinds that are told apart; an error's text may make any number of them.
MOST_KINDS = 100
#: Ranges of partition numbers in one line: an assignment may have thousands, with gaps.
MOST_RANGES = 20

Facts = dict[str, object]


class Journal:
    """An observer that writes to the ``flowodm.consumer`` logger of the standard library.

    The message reads well by itself; the same facts are in the record's ``flowodm`` attribute,
    a dict, for those who log in JSON.

    Args:
        name: The loop's name in the log: its group.
        clock: Monotonic seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._log = logging.getLogger("flowodm.consumer")
        self._clock = clock
        self._repeats = _Repeats()
        self._outcomes: Counter[Outcome] = Counter()
        self._unfinished = 0
        self._begun = clock()

    def __call__(self, event: Event) -> None:
        """Log what is worth a line."""
        match event:
            case Handled():
                self._handled(event)
            case LoopStatus():
                self._sum_up()
            case StateChanged(LoopState.STOPPED) | DeadLettered() | Committed(_, None):
                pass  # Ended says more; the failure before a dead letter has its line
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
                self._sum_up(everything=True)
                self._ended(event)
            case _:
                assert_never(event)

    # ---- once each -------------------------------------------------------------------------

    def _rebalanced(self, event: Rebalanced) -> None:
        quiet = event.kind in {RebalanceKind.ASSIGNED, RebalanceKind.REVOKED}
        level = logging.INFO if quiet else logging.WARNING
        facts: Facts = {"partitions": ranges(event.partitions), "count": len(event.partitions)}
        self._write(level, f"partitions {event.kind.value}", facts)

    def _ended(self, event: Ended) -> None:
        done = {outcome.value: self._outcomes[outcome] for outcome in Outcome}
        facts: Facts = {
            "reason": event.reason.value,
            "processed": done.pop("processed"),
            **{outcome: count for outcome, count in done.items() if count},
            "unfinished": self._unfinished,
            "run_seconds": round(self._clock() - self._begun, 1),
            "drain_seconds": round(event.drain_seconds, 3),
        }
        failed = event.error is not None and not isinstance(event.error, CancelledError)
        if event.error is not None:
            facts["error"] = summary(event.error)
        self._write(logging.ERROR if failed else logging.INFO, "loop ended", facts)

    # ---- bounded ---------------------------------------------------------------------------

    def _handled(self, event: Handled) -> None:
        self._outcomes.update(event.outcomes)
        if lost := event.outcomes.get(Outcome.LOST):
            line = _Line(logging.ERROR, "committed records not handled", {"topic": event.topic})
            place: Facts = {"partition": event.partition}
            if self._admit(("lost", event.topic), line, place, IN_FULL, lost):
                self._write(line.level, line.what, {**line.facts, **place, "lost": lost})

    def _failed(self, event: Failed) -> None:
        error, final = event.error, event.consequence in {"skip", "stop"}
        shared: Facts = {"stage": event.stage.value, "next": event.consequence}
        place = {"topic": event.topic, "partition": event.partition, "offset": event.offset}
        line = _Line(
            logging.ERROR if final else logging.WARNING,
            "record failed",
            {**shared, "error": type(error).__name__},
        )
        key = (*line.facts.values(), _raised_at(error))
        if not self._admit(key, line, place, IN_FULL):
            return
        facts = {**shared, **place, "failures": event.failures, "error": summary(error)}
        if event.delay is not None:
            facts["retry_in"] = round(event.delay, 3)
        endless = len(summary(error)) > LONGEST_SUMMARY  # the traceback would repeat it
        self._write(line.level, line.what, facts, error if final and not endless else None)

    def _trouble(self, event: Committed | Trouble | Blocked) -> None:
        details: Facts
        match event:
            case Committed(offsets, error):
                what, shared = "commit failed", {"error": error}
                details = {"of": ranges(offsets)}
            case Trouble(code, message):
                what, shared = "kafka client reports trouble", {"code": code}
                details = {"error": message}
            case Blocked(seconds, where, again):
                still = "still " if again else ""
                what, shared = f"event loop {still}blocked", {"where": where}
                details = {"seconds": round(seconds, 1)}
        line = _Line(logging.WARNING, what, dict(shared))
        rare = isinstance(event, Blocked) and event.again  # the watchdog sees to that
        if rare or self._admit((what, *shared.values()), line, details, 1):
            self._write(line.level, line.what, {**line.facts, **details})

    def _admit(self, key: Hashable, line: _Line, last: Facts, in_full: int, count: int = 1) -> bool:
        return self._repeats.admit(key, line, last, in_full, count, self._clock())

    def _sum_up(self, *, everything: bool = False) -> None:
        for line, facts in self._repeats.over(self._clock(), everything=everything):
            self._write(line.level, f"repeated: {line.what}", {**facts, **line.facts})

    # ---- the line --------------------------------------------------------------------------

    def _write(
        self, level: int, what: str, facts: Facts, cause: BaseException | None = None
    ) -> None:
        named = {"group": self._name, **facts}
        text = " ".join(f"{key}={value}" for key, value in named.items())
        extra = {"flowodm": {"event": what, **named}}
        self._log.log(level, "%s %s", what, text, exc_info=cause, extra=extra)


@dataclass(frozen=True, slots=True)
class _Line:
    """What all lines of one kind have in common."""

    level: int
    what: str
    facts: Facts


@dataclass(slots=True)
class _Interval:
    """The lines of one kind since the first one."""

    line: _Line
    since: float
    logged: int = 0
    more: int = 0
    last: Facts = field(default_factory=dict)


class _Repeats:
    """Counts lines by kind, over an interval that begins with a kind's first line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[Hashable, _Interval] = {}

    def admit(
        self, key: Hashable, line: _Line, last: Facts, in_full: int, count: int, now: float
    ) -> bool:
        """Whether a line is one of the first of its kind; if not, it is counted."""
        with self._lock:
            if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
                key, line = line.what, _Line(line.level, line.what, {"kinds": "several"})
            interval = self._kinds.setdefault(key, _Interval(line, now))
            if interval.logged < in_full:
                interval.logged += 1
                return True
            interval.more += count
            interval.last = last
            return False

    def over(self, now: float, *, everything: bool) -> Iterator[tuple[_Line, Facts]]:
        """The kinds whose interval is over and of which lines were held back."""
        with self._lock:
            ended = [
                key
                for key, interval in self._kinds.items()
                if everything or now - interval.since >= INTERVAL
            ]
            intervals = [self._kinds.pop(key) for key in ended]
        for interval in intervals:
            if interval.more:
                seconds = round(now - interval.since, 1)
                yield interval.line, {"more": interval.more, "within": seconds, **interval.last}


def _raised_at(error: BaseException) -> tuple[object, int] | None:
    """The code and the line that raised: two bugs may raise the same class."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else (traceback.tb_frame.f_code, traceback.tb_lineno)


def ranges(partitions: Iterable[TP]) -> str:
    """Partitions for people: "orders[0-7], orders[9]"."""
    found: list[tuple[str, int, int]] = []
    for topic, number in sorted(partitions):
        if found and found[-1][0] == topic and found[-1][2] == number - 1:
            found[-1] = (topic, found[-1][1], number)
        else:
            found.append((topic, number, number))
    named = [
        f"{topic}[{first}]" if first == last else f"{topic}[{first}-{last}]"
        for topic, first, last in found[:MOST_RANGES]
    ]
    more = len(found) - len(named)
    return ",".join([*named, *([f"and {more} more ranges"] if more else [])]) or "none"
