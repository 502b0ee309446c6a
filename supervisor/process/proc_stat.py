"""What the kernel reports of a process in /proc/PID/stat: its state, parent, CPU time, memory.

The supervisor reads it, so that a worker that hangs is measured too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
"""Clock ticks a second."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
"""Bytes of a page."""


@dataclass(frozen=True, slots=True)
class ProcStat:
    """The fields of a line of /proc/PID/stat that somebody needs (man 5 proc).

    Attributes:
        state: A letter; "T" and "t" stand for stopped, "Z" for a zombie, "X" for dead.
        parent: The parent's pid.
        cpu_ticks: CPU time, user and system.
        started: When the process started, in clock ticks since the boot.
        resident_pages: Memory, pages that forked processes share included.
    """

    state: str
    parent: int
    cpu_ticks: int
    started: int
    resident_pages: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used.

    Attributes:
        process: Pid and start time (clock ticks since the boot): unique among all processes.
        cpu_seconds: CPU time, user and system, since the process's start.
        resident_bytes: Memory; pages that forked processes share count in each of them.
    """

    process: tuple[int, int]
    cpu_seconds: float
    resident_bytes: int


def parse_stat(line: str) -> ProcStat:
    """Parse a line of /proc/PID/stat."""
    # Field 2, the command in parentheses, may itself contain blanks and parentheses.
    fields = line.rpartition(")")[2].split()

    def number(field: int) -> int:
        """Return a field by its number in man 5 proc, where the state is field 3."""
        return int(fields[field - 3])

    return ProcStat(
        state=fields[0],
        parent=number(4),
        cpu_ticks=number(14) + number(15),
        started=number(22),
        resident_pages=number(24),
    )


def read_stat(pid: int) -> ProcStat | None:
    """Read a process's line; None if it is gone, or where there is no /proc (macOS)."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return parse_stat(line)


def parent_of(pid: int) -> int | None:
    """Return the pid of a process's parent; None if it is unknown."""
    stat = read_stat(pid)
    return None if stat is None else stat.parent


def is_stopped(pid: int) -> bool:
    """Return whether a signal or a debugger has stopped a process; False if it is unknown."""
    stat = read_stat(pid)
    return stat is not None and stat.state in {"T", "t"}


def usage_of(pid: int) -> Usage | None:
    """Return what a process has used; None if it is unknown."""
    stat = read_stat(pid)
    return None if stat is None else usage_from(pid, stat, ticks=_TICKS, page=_PAGE)


def usage_from(pid: int, stat: ProcStat, *, ticks: int, page: int) -> Usage:
    """Convert ticks and pages.

    Args:
        pid: The process.
        stat: Its line.
        ticks: Clock ticks a second.
        page: Bytes of a page.
    """
    return Usage(
        (pid, stat.started),
        cpu_seconds=round(stat.cpu_ticks / ticks, 3),
        resident_bytes=stat.resident_pages * page,
    )


class Spent:
    """What the successive processes of one slot have used."""

    def __init__(self) -> None:
        self._before = 0.0
        self._current: Usage | None = None

    def add(self, usage: Usage) -> None:
        """Take the usage of the slot's current process."""
        if self._current is not None and self._current.process != usage.process:
            self._before += self._current.cpu_seconds
        self._current = usage

    @property
    def cpu_seconds(self) -> float | None:
        """CPU time of all processes; it never goes down. None if no usage was added.

        What a process uses after its last reading is lost when it ends.
        """
        return None if self._current is None else self._before + self._current.cpu_seconds

    def resident_bytes(self, pid: int | None) -> int | None:
        """Return the memory of this process; None if it is not the one that was added last."""
        current = self._current
        return current.resident_bytes if current and current.process[0] == pid else None
