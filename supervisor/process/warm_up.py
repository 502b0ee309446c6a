"""Waits until a renewed fork server has imported its modules.

A request for a worker waits in the server's socket until then. If that worker replaces another
one, nobody would have its partitions meanwhile; so its predecessor stays until the server forks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from supervisor.process.worker_process import WorkerProcess
from supervisor.slot.events import Exited, Spawned, SpawnFailed

if TYPE_CHECKING:
    from supervisor.process.fork_server import ForkServer
    from supervisor.process.worker_process import ProcessEvent

ENTRY: Final = "supervisor.process.launch:exit_at_once"
"""The entry of a child that does nothing."""
LIMIT: Final = 60.0
"""Seconds after which the warm-up counts as over."""


class WarmUp:
    """The time from a fork server's start until it forks its first child, which does nothing.

    Args:
        server: The server, just started.
    """

    def __init__(self, server: ForkServer) -> None:
        self._until = time.monotonic() + LIMIT
        self._over = False
        self._process: WorkerProcess | None = None
        try:
            self._process = WorkerProcess(server, ENTRY, self.handle)
        except OSError:
            self._over = True  # the next worker's fork will report it

    @property
    def under_way(self) -> bool:
        """Whether the server still imports, as far as is known."""
        return not self._over and time.monotonic() < self._until

    def abandon(self) -> None:
        """Stop waiting."""
        self._over = True
        if self._process is not None:
            self._process.abandon()

    def handle(self, event: ProcessEvent) -> None:
        """Take an event of the child: any fork, or the server's death, ends the warm-up."""
        if isinstance(event, Spawned | SpawnFailed | Exited):
            self._over = True
