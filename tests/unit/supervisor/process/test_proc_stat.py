"""/proc/PID/stat is parsed for state, parent, CPU time and memory."""

from __future__ import annotations

import os
import sys

import pytest

from supervisor.process.proc_stat import (
    ProcStat,
    Spent,
    Usage,
    parent_of,
    parse_stat,
    usage_from,
    usage_of,
)

# Field 14 is 250 ticks, 15 is 50, 22 is 777, 24 is 100 pages.
STAT = (
    "4711 (a (name) with) S 1 2 3 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 5 0 777 123456 100 "
    "18446744073709551615 1 1"
)


def test_a_line_of_stat_is_read_whatever_the_command_is_called():
    stat = parse_stat(STAT)
    assert stat == ProcStat("S", parent=1, cpu_ticks=300, started=777, resident_pages=100)
    assert usage_from(4711, stat, ticks=100, page=4096) == Usage((4711, 777), 3.0, 409_600)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no /proc")
def test_our_own_usage_is_what_the_system_says():
    usage = usage_of(os.getpid())
    assert usage is not None
    assert usage.cpu_seconds == pytest.approx(sum(os.times()[:2]), abs=0.2)
    assert 5_000_000 < usage.resident_bytes < 2_000_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no /proc")
def test_our_own_parent_is_who_the_system_says():
    assert parent_of(os.getpid()) == os.getppid()


def test_a_process_that_is_gone_has_none():
    assert usage_of(2**22 + 1) is None
    assert parent_of(2**22 + 1) is None


def test_the_cpu_time_of_a_slot_adds_up_over_its_processes():
    spent = Spent()
    assert spent.cpu_seconds is None
    for process, seconds in [((1, 5), 1.0), ((1, 5), 3.0), ((2, 9), 0.5), ((2, 11), 0.25)]:
        spent.add(Usage(process, seconds, 100))
    assert spent.cpu_seconds == 3.75
    assert spent.resident_bytes(2) == 100
    assert spent.resident_bytes(None) is None
    assert spent.resident_bytes(1) is None
