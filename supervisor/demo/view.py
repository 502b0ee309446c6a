"""The demo's lines, made from the supervisor's /status and log. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from supervisor.instrumentation.status_table import Worker

    Entry = Mapping[str, Any]

COLUMNS = ("worker", "state", "pid", "partitions", "records/s", "lag", "restarts")
"""Columns of the live table, of those in status_table."""
_SHOWN_ELSEWHERE = {"event", "timestamp", "level", "logger", "consumer", "slot", "pid"}
"""Fields of a log entry that its line shows in another place, or not at all."""


def line(workers: Sequence[Worker], title: str) -> str:
    """Make the one line that stands for the table where there is no terminal."""
    parts = [
        f"{worker.name} {worker.state} [{worker.partition_list}] "
        f"{worker.records_per_second:.0f}/s "
        f"lag {'?' if worker.lag is None else worker.lag} restarts {worker.restarts}"
        for worker in workers
    ]
    return " | ".join([title, *parts])


def parsed(text: str) -> Entry:
    """Parse a line of the supervisor's log; a line that is not JSON becomes the event."""
    try:
        entry = json.loads(text)
    except ValueError:
        return {"event": text}
    return entry if isinstance(entry, dict) else {"event": text}


def matters(entry: Entry) -> bool:
    """Return whether a log entry is shown: those of the supervisor itself, and all warnings."""
    return entry.get("logger") == "supervisor" or entry.get("level") != "info"


def logged(entry: Entry) -> str:
    """Make the line of a log entry, for people."""
    who = f"{entry['consumer']}/{entry['slot']}" if "slot" in entry else "supervisor"
    pid = f" (pid {entry['pid']})" if entry.get("pid") else ""
    rest = " ".join(f"{key}={entry[key]}" for key in entry if key not in _SHOWN_ELSEWHERE)
    clock = str(entry.get("timestamp", ""))[11:19]
    return " ".join(part for part in (clock, f"{who}{pid}:", str(entry["event"]), rest) if part)


def of_the_drain(entry: Entry) -> bool:
    """Return whether it is the supervisor's entry for a worker's end; its loop logs one, too."""
    return "drain_seconds" in entry and "killed" in entry


def drain_report(entries: Iterable[Entry]) -> list[str]:
    """Make a line for each worker that ended because the fleet was stopped."""
    return [
        f"  {entry['consumer']}/{entry['slot']}: {entry['reason']} "
        f"{entry['drain_seconds']:.2f} s after the request, {entry['left']} records left"
        + (", killed" if entry["killed"] else "")
        for entry in entries
        if of_the_drain(entry)
    ]
