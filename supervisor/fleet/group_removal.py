"""Removes the members of slots that have ended for good from their group, in short-lived children.

A static member stays in its group until its session times out, however it ended, and so does a
dynamic one that was killed: until then nobody gets its partitions. A successor evicts its
predecessor; a slot without a successor needs a removal. The supervising process itself has no
Kafka client.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from supervisor.process.worker_process import WorkerProcess
from supervisor.slot.events import Exited, ProtocolViolation, Spawned, SpawnFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.fleet.member import Member
    from supervisor.process.fork_server import ForkServer
    from supervisor.process.worker_process import ProcessEvent
    from supervisor.protocol import Start

ENTRY: Final = "supervisor.worker.main:remove"
"""The entry of a child that removes members."""
LIMIT: Final = 10.0
"""Seconds after which a child is killed: its imports may hang, its requests are bounded."""

_log = logging.getLogger("supervisor")


class GroupRemovals:
    """The removals that are under way.

    Args:
        server: The fork server that forks the children.
        removed: Called with a consumer's name when a slot's members have left its group.
    """

    def __init__(self, server: ForkServer, removed: Callable[[str], None]) -> None:
        self._server = server
        self._removed = removed
        self._under_way: set[_GroupRemoval] = set()

    @property
    def under_way(self) -> int:
        """How many removals are under way. From any thread."""
        return len(self._under_way)

    def remove(self, member: Member) -> None:
        """Remove the members that a slot's dead processes have left in the group."""
        start = member.running or member.start
        if start.consumer.get("partitions") is not None:
            return  # pinned partitions: there is no group member
        member_ids = member.dead_members.to_remove(static="group_instance_id" in start.consumer)
        if not member_ids:
            self._removed(member.consumer)  # it has left by itself
            return
        removal = _GroupRemoval(replace(start, evict=member_ids), member.fields, self._over)
        try:
            removal.begin(self._server)
            self._under_way.add(removal)
        except OSError as error:
            _log.warning("not removed from the group: %s", error, extra=member.fields)

    def close(self) -> None:
        """Abandon the removals that are under way; the children end by themselves."""
        for removal in tuple(self._under_way):
            removal.abandon()

    def _over(self, removal: _GroupRemoval, *, removed: bool) -> None:
        self._under_way.discard(removal)
        if removed:
            self._removed(removal.consumer)


class _Over(Protocol):
    def __call__(self, removal: _GroupRemoval, *, removed: bool) -> None: ...


class _GroupRemoval:
    """One child that removes members."""

    def __init__(self, start: Start, fields: dict[str, object], over: _Over) -> None:
        self.consumer = start.identity.consumer
        self._start = start
        self._fields = fields
        self._report_over = over
        self._process: WorkerProcess | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, server: ForkServer) -> None:
        self._process = process = WorkerProcess(server, ENTRY, self._handle)
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
        self._report_over(self, removed=removed)

    def _handle(self, event: ProcessEvent) -> None:
        match event:
            case Spawned():
                if self._process is not None:
                    self._process.send(self._start)
            case SpawnFailed(message):
                self._over(removed=False)
                _log.warning("not removed from the group: %s", message, extra=self._fields)
            case ProtocolViolation(message):
                _log.error(
                    "the process that removes a member violates the protocol: %s",
                    message,
                    extra=self._fields,
                )
            case Exited(status):
                self._exited(status)
            case _:
                pass  # its frames report nothing but what its log says

    def _exited(self, status: int | None) -> None:
        self._over(removed=status == 0)
        if status != 0:
            _log.warning(
                "the dead member may still be in the group, and would keep its partitions until "
                "its session times out",
                extra={**self._fields, "exit_status": status},
            )
