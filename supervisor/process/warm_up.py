"""Waiting for a renewed fork server to have imported what it is to import.

A worker that is asked of it before waits in its socket meanwhile. For one that is replaced this
would be time in which nobody has its partitions, so its predecessor stays until the server forks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from supervisor.process.worker_process import WorkerProcess

if TYPE_CHECKING:
    from supervisor.process.fork_server import ForkServer
    from supervisor.protocol import Frame

ENTRY: Final = "supervisor.process.launch:nothing"
LIMIT: Final = 60.0
"""Seconds after which nobody waits for it any more."""


class Warming:
    """One fork server's way to its first child, which does nothing.

    Args:
        server: The server, just started.
    """

    def __init__(self, server: ForkServer) -> None:
        self._until = time.monotonic() + LIMIT
        self._over = False
        self._process: WorkerProcess | None = None
        try:
            self._process = WorkerProcess(server, ENTRY, self)
        except OSError:
            self._over = True  # who wants a worker will hear of it

    @property
    def under_way(self) -> bool:
        """Whether it is worth waiting."""
        return not self._over and time.monotonic() < self._until

    def abandon(self) -> None:
        """Wait no more."""
        self._over = True
        if self._process is not None:
            self._process.abandon()

    def spawned(self, _pid: int) -> None:
        """The server forks: that is all."""
        self._over = True

    def received(self, _frame: Frame) -> None:
        """It says nothing."""

    def garbled(self, _message: str) -> None:
        """It says nothing."""

    def ended(self, _status: int | None) -> None:
        """It has ended by itself, perhaps before its start was noticed."""
        self._over = True

    def unspawned(self, _message: str) -> None:
        """The server has died; the next worker that is asked for starts another one."""
        self._over = True
