"""Reads the kernel's count of processes that its out-of-memory killer has ended.

The count is `oom_kill`: of this cgroup in `memory.events` (cgroup v2) or `memory.oom_control`
(v1), or else of the whole machine in `/proc/vmstat`. Workers are in the supervisor's own cgroup.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT: Final = Path("/")
_COUNT: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kill_counter() -> Callable[[], int | None]:
    """Return a function that reads the count; it returns None where there is none."""
    return partial(read_kills, find_counter())


def find_counter(root: Path = _ROOT) -> Path | None:
    """Find the most specific file that counts; None where there is none (macOS).

    Args:
        root: The root of the file system; for tests.
    """
    for path in _candidates(root):
        if read_kills(path) is not None:
            return path
    return None


def read_kills(path: Path | None) -> int | None:
    """Read the count from a file; None if the file cannot be read or has no count."""
    if path is None:
        return None
    try:
        match = _COUNT.search(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return None if match is None else int(match[1])


def _candidates(root: Path) -> Iterator[Path]:
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):  # hierarchy:controllers:path (man 7 cgroups)
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = mounted, "memory.events"
        elif "memory" in controllers.split(","):
            folder, name = mounted / controllers, "memory.oom_control"
        else:
            continue
        # In a container the path may be the host's, and the container's own group is mounted.
        yield folder / path.lstrip("/") / name
        yield folder / name
    yield root / "proc/vmstat"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
