"""What the demo shows of the supervisor's /status and log. Pure."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Entry = Mapping[str, Any]

RATE_WINDOW = 3.0
"""Seconds over which records a second are measured; workers report once a second."""
_SHOWN_ELSEWHERE = {"event", "timestamp", "level", "logger", "consumer", "slot", "pid"}
_STYLES = {"processing": "green", "assigned": "green", "failed": "red", "backing_off": "red"}


@dataclass(frozen=True, slots=True)
class Worker:
    """One line of the table, as /status has it."""

    consumer: str
    slot: int
    state: str
    pid: int | None
    partitions: tuple[int, ...]
    processed: int
    lag: int | None
    restarts: int

    @property
    def name(self) -> str:
        """As the supervisor's log calls it."""
        return f"{self.consumer}/{self.slot}"


def workers_of(status: Mapping[str, Any]) -> tuple[Worker, ...]:
    """All workers of a /status."""
    return tuple(
        Worker(
            consumer=name,
            slot=slot["slot"],
            state=slot["state"],
            pid=slot["pid"],
            partitions=tuple(sorted(number for _, number in slot["partitions"])),
            processed=slot["processed"],
            lag=slot["lag"],
            restarts=slot["restarts"],
        )
        for name, consumer in status["consumers"].items()
        for slot in consumer["slots"]
    )


class Rates:
    """Records a second of each worker, over the last few seconds."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, int]]] = {}

    def update(self, workers: Iterable[Worker], now: float) -> None:
        """Take what the workers have processed by now (monotonic seconds)."""
        for worker in workers:
            samples = self._samples.setdefault(worker.name, deque())
            samples.append((now, worker.processed))
            while len(samples) > 2 and samples[1][0] <= now - RATE_WINDOW:  # noqa: PLR2004 - both ends
                samples.popleft()

    def of(self, worker: Worker) -> float:
        """The worker's rate; 0 where nothing is known yet."""
        samples = self._samples.get(worker.name)
        if not samples or samples[-1][0] <= samples[0][0]:
            return 0.0
        (begun, before), (ended, after) = samples[0], samples[-1]
        return (after - before) / (ended - begun)


def table(workers: Sequence[Worker], rates: Rates, title: str) -> Table:
    """The live table."""
    shown = Table(title=title, title_justify="left")
    for column in ("worker", "state", "pid", "partitions", "records/s", "lag", "restarts"):
        numeric = column in {"pid", "records/s", "lag", "restarts"}
        shown.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for worker in workers:
        shown.add_row(
            worker.name,
            worker.state,
            _known(worker.pid),
            ",".join(map(str, worker.partitions)),
            f"{rates.of(worker):.0f}",
            _known(worker.lag),
            str(worker.restarts),
            style=_STYLES.get(worker.state, ""),
        )
    return shown


def line(workers: Sequence[Worker], rates: Rates, title: str) -> str:
    """The same in one line, where there is no terminal."""
    parts = [
        f"{worker.name} {worker.state} [{','.join(map(str, worker.partitions))}] "
        f"{rates.of(worker):.0f}/s lag {_known(worker.lag) or '?'} restarts {worker.restarts}"
        for worker in workers
    ]
    return " | ".join([title, *parts])


def _known(value: int | None) -> str:
    return "" if value is None else str(value)


def parsed(text: str) -> Entry:
    """A line of the supervisor's log; what is not JSON becomes the event."""
    try:
        entry = json.loads(text)
    except ValueError:
        return {"event": text}
    return entry if isinstance(entry, dict) else {"event": text}


def matters(entry: Entry) -> bool:
    """Whether a line of the log is shown: what the supervisor says, and every warning."""
    return entry.get("logger") == "supervisor" or entry.get("level") != "info"


def logged(entry: Entry) -> str:
    """A line of the supervisor's log, for people."""
    who = f"{entry['consumer']}/{entry['slot']}" if "slot" in entry else "supervisor"
    pid = f" (pid {entry['pid']})" if entry.get("pid") else ""
    rest = " ".join(f"{key}={entry[key]}" for key in entry if key not in _SHOWN_ELSEWHERE)
    clock = str(entry.get("timestamp", ""))[11:19]
    return " ".join(part for part in (clock, f"{who}{pid}:", str(entry["event"]), rest) if part)


def of_the_drain(entry: Entry) -> bool:
    """Whether it is the supervisor's line about a worker's end; the worker's loop has one too."""
    return "drain_seconds" in entry and "killed" in entry


def drain_report(entries: Iterable[Entry]) -> list[str]:
    """A line for each worker that ended because the fleet was stopped."""
    return [
        f"  {entry['consumer']}/{entry['slot']}: {entry['reason']} "
        f"{entry['drain_seconds']:.2f} s after the request, {entry['left']} records left"
        + (", killed" if entry["killed"] else "")
        for entry in entries
        if of_the_drain(entry)
    ]
