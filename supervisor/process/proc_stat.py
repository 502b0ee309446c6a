"""What a worker's process costs, as the kernel counts it.

The supervisor reads it, so that a worker that hangs is measured too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process, or a row of them, has used.

    Attributes:
        process: Pid and start time (clock ticks since the boot), which together no other
            process ever has.
        cpu_seconds: CPU time, user and system, since the first process's start.
        resident_bytes: Memory of the current process; pages that forked processes share count
            in each of them.
    """

    process: tuple[int, int]
    cpu_seconds: float
    resident_bytes: int


def usage_of(pid: int) -> Usage | None:
    """What a process has used; None if it is gone, or where there is no /proc (macOS)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return parsed(pid, stat, _TICKS, _PAGE)


def parsed(pid: int, stat: str, ticks: int, page: int) -> Usage:
    """Read a line of /proc/PID/stat (man 5 proc; its fields are counted from 1).

    Args:
        pid: Whose it is.
        stat: The line.
        ticks: Clock ticks a second.
        page: Bytes of a page.
    """
    # The command in parentheses, field 2, may itself hold blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    user, system, started, resident = (int(fields[number - 3]) for number in (14, 15, 22, 24))
    return Usage((pid, started), round((user + system) / ticks, 3), resident * page)


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process; False where nobody can tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in {"T", "t"}


class Spent:
    """What the processes that follow each other in one slot have used."""

    def __init__(self) -> None:
        self._before = 0.0
        self._current: Usage | None = None

    def add(self, usage: Usage) -> None:
        """Take what the slot's process, perhaps another than the last time, has used."""
        if self._current is not None and self._current.process != usage.process:
            self._before += self._current.cpu_seconds
        self._current = usage

    @property
    def cpu_seconds(self) -> float | None:
        """CPU time of all of them, which never goes down; None if none was ever looked at.

        What a process uses after it was last looked at is lost when it ends.
        """
        return None if self._current is None else self._before + self._current.cpu_seconds

    def resident_bytes(self, pid: int | None) -> int | None:
        """Memory of this process; None if it is not the one that was looked at last."""
        current = self._current
        return current.resident_bytes if current and current.process[0] == pid else None
