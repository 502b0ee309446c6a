from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from supervisor.demo.view import COLUMNS, drain_report, line, logged, matters, parsed
from supervisor.instrumentation.status_table import Worker, worker_table

BUSY = Worker("packing", 0, "processing", 4711, (0, 1), 2, 40, 100.0, 3, 1)
DOWN = Worker("packing", 1, "backing_off", None, (), 0, 0, 0.0, None, 2)


def test_the_table_shows_each_worker_with_what_is_known():
    console = Console(file=StringIO(), width=100)
    console.print(worker_table([BUSY, DOWN], COLUMNS, "12 orders"))
    shown = console.file.getvalue()
    for text in ("12 orders", "records/s", "restarts", "packing/0", "4711", "0,1", "backing_off"):
        assert text in shown
    assert "None" not in shown


def test_without_a_terminal_it_is_one_line():
    assert line([BUSY, DOWN], "12 orders") == (
        "12 orders | packing/0 processing [0,1] 100/s lag 3 restarts 1"
        " | packing/1 backing_off [] 0/s lag ? restarts 2"
    )


def test_a_line_of_the_log_says_who_and_what():
    text = (
        '{"event": "worker ended", "timestamp": "2026-01-02T03:04:05.6Z", "level": "info", '
        '"logger": "supervisor", "consumer": "packing", "slot": 0, "pid": 7, "left": 0}'
    )
    assert logged(parsed(text)) == "03:04:05 packing/0 (pid 7): worker ended left=0"


@pytest.mark.parametrize("text", ["Traceback", "[1, 2]", '"text"', "{", ""])
def test_what_is_no_log_entry_is_shown_as_it_is(text):
    assert logged(parsed(text)).removesuffix(" ") == f"supervisor: {text}".strip()
    assert matters(parsed(text))


def test_of_the_workers_own_log_only_what_is_worse_than_info_is_shown():
    entry = {"event": "assigned", "logger": "flowodm.consumer", "level": "info"}
    assert not matters(entry)
    assert matters({**entry, "level": "warning"})
    assert matters({**entry, "logger": "supervisor"})


def test_the_drain_report_is_made_from_how_workers_ended():
    ended = {"event": "worker ended", "consumer": "packing", "slot": 0, "reason": "done"}
    entries = [
        {"event": "draining"},
        {"event": "loop ended", "reason": "stopped", "drain_seconds": 0.2},  # a worker's own
        {**ended, "drain_seconds": 0.25, "left": 0, "killed": False},
        {**ended, "slot": 1, "reason": "killed", "drain_seconds": 9, "left": 4, "killed": True},
    ]
    assert drain_report(entries) == [
        "  packing/0: done 0.25 s after the request, 0 records left",
        "  packing/1: killed 9.00 s after the request, 4 records left, killed",
    ]
