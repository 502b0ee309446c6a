"""Whether the kernel killed for want of memory: it says so only in its own counters.

To whoever reaps a process, such a death is a SIGKILL as from anybody. What tells them apart is
`oom_kill`, a count of processes that the kernel has killed: of this cgroup in `memory.events`
(cgroup v2) or `memory.oom_control` (v1), or else of the whole machine in `/proc/vmstat`. Workers
are in the supervisor's own cgroup.
"""

from __future__ import annotations

import re
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECENT: Final = 5.0
"""Seconds after which a kill explains no worker's end any more: it was another process's."""
LOOK: Final = 1.0
"""Seconds between two looks while nobody died."""
_ROOT: Final = Path("/")
_COUNT: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def counter(root: Path = _ROOT) -> Path | None:
    """The file that counts what matters most here; None where there is none (macOS).

    Args:
        root: The root of the file system; for tests.
    """
    return next((path for path in _candidates(root) if kills_in(path) is not None), None)


def _candidates(root: Path) -> Iterator[Path]:
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:  # hierarchy:controllers:path (man 7 cgroups)
        _, controllers, path = line.split(":", 2)
        folder, name = (mounted, "memory.events")
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            folder, name = mounted / controllers, "memory.oom_control"
        # In a container the path may be the host's, and the own group is what is mounted.
        yield folder / path.lstrip("/") / name
        yield folder / name
    yield root / "proc/vmstat"


def kills_in(path: Path | None) -> int | None:
    """How many kills such a file has counted; None if it cannot be read or does not count."""
    try:
        found = None if path is None else _COUNT.search(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return None if found is None else int(found[1])


class OomKills:
    """Says whether a worker's SIGKILL was the kernel's, for want of memory.

    Args:
        count: How many kills there have been so far; None: nobody knows.
    """

    def __init__(self, count: Callable[[], int | None] | None = None) -> None:
        self._count = count = count or partial(kills_in, counter())
        self._known = count() or 0
        self._looked = 0.0
        self._unexplained: deque[float] = deque(maxlen=1000)

    def look(self, now: float) -> None:
        """Notice kills; to be called about once a second (monotonic seconds)."""
        if now - self._looked >= LOOK:
            self._look(now)

    def explains(self, now: float) -> bool:
        """Whether a process that has just died by SIGKILL was one; each kill explains one end."""
        self._look(now)
        if not self._unexplained:
            return False
        self._unexplained.popleft()
        return True

    def _look(self, now: float) -> None:
        self._looked = now
        kills = self._count()
        if kills is not None:
            self._unexplained.extend([now] * min(kills - self._known, 1000))
            self._known = kills
        while self._unexplained and now - self._unexplained[0] > RECENT:
            self._unexplained.popleft()
