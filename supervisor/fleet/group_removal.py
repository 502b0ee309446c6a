"""Taking a slot out of its group that is gone for good, in a short-lived child.

A static member stays in its group until its session ends, however it ended, and a dynamic one
that was killed too: nobody would get its partitions so long. A successor evicts its
predecessor; a slot without one needs somebody else to do so, and the supervising process
itself speaks no Kafka.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from supervisor.process.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.fleet.member import Member
    from supervisor.process.fork_server import ForkServer
    from supervisor.protocol import Frame, Start

ENTRY: Final = "supervisor.worker.main:remove"
LIMIT: Final = 10.0
"""Seconds after which a removal is killed: its imports may hang, its requests are bounded."""

log = logging.getLogger("supervisor")


class Removals:
    """The removals that are under way.

    Args:
        server: Where their processes are forked.
        gone: Called with a consumer's name when a slot of it is out of its group.
    """

    def __init__(self, server: ForkServer, gone: Callable[[str], None]) -> None:
        self._server = server
        self._gone = gone
        self._under_way: set[_Removal] = set()

    @property
    def under_way(self) -> int:
        """How many there are. From any thread."""
        return len(self._under_way)

    def remove(self, member: Member) -> None:
        """Take whatever a slot's dead processes have left behind out of the group."""
        start = member.running or member.start
        static = "group_instance_id" in start.consumer
        ids = member.departed.to_remove(static=static)
        if start.consumer.get("partitions") is not None:
            return
        if not ids:
            self._gone(member.consumer)  # it has left by itself
            return
        removal = _Removal(replace(start, evict=ids), member.fields, self._over)
        try:
            removal.begin(self._server)
            self._under_way.add(removal)
        except OSError as error:
            log.warning("not taken out of the group: %s", error, extra=member.fields)

    def close(self) -> None:
        """Let go of those under way; they end by themselves."""
        for removal in tuple(self._under_way):
            removal.abandon()

    def _over(self, removal: _Removal, *, removed: bool) -> None:
        self._under_way.discard(removal)
        if removed:
            self._gone(removal.consumer)


class Over(Protocol):
    """Whom a removal tells that it is over."""

    def __call__(self, removal: _Removal, *, removed: bool) -> None:
        """Whether it did its work."""


class _Removal:
    """One child; what `WorkerProcess` tells comes in here."""

    def __init__(self, start: Start, fields: dict[str, object], over: Over) -> None:
        self.consumer = start.identity.consumer
        self._start = start
        self._fields = fields
        self._tell_over = over
        self._process: WorkerProcess | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, server: ForkServer) -> None:
        self._process = process = WorkerProcess(server, ENTRY, self)
        self._timer = asyncio.get_running_loop().call_later(
            LIMIT, lambda: process.signal(signal.SIGKILL)
        )

    def abandon(self) -> None:
        if self._process is not None:
            self._process.abandon()
        self._over(removed=False)

    def _over(self, *, removed: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tell_over(self, removed=removed)

    def spawned(self, _pid: int) -> None:
        if self._process is not None:
            self._process.send(self._start)

    def received(self, _frame: Frame) -> None:
        """Nothing to tell but its end; its log says the rest."""

    def garbled(self, message: str) -> None:
        log.error("a removal does not keep to the protocol: %s", message, extra=self._fields)

    def ended(self, status: int | None) -> None:
        self._over(removed=status == 0)
        if status != 0:
            log.warning(
                "it may not be out of its group, and keeps its partitions until its session ends",
                extra={**self._fields, "exit_status": status},
            )

    def unspawned(self, message: str) -> None:
        self._over(removed=False)
        log.warning("not taken out of the group: %s", message, extra=self._fields)
