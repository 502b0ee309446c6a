"""Decide when a slow handler makes the member leave its group, and come back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowodm.consumer.engine.actions import LeaveGroup, RejoinGroup

if TYPE_CHECKING:
    from flowodm.consumer.engine.handlers import Handlers


class PollInterval:
    """Watches that no handler runs past ``max.poll.interval.ms``.

    Polling goes on in the background, so Kafka would never notice a handler that hangs, or an
    event loop that does: its partitions would stand still for ever. So the member leaves by
    itself, others take over, and what the late handler returns is not committed.

    Args:
        seconds: How long a handler may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left_at: float | None = None

    @property
    def away(self) -> bool:
        """Whether the member has left its group for this reason."""
        return self._left_at is not None

    def decide(
        self, handlers: Handlers, unattended: float, now: float
    ) -> list[LeaveGroup | RejoinGroup]:
        """Decide whether to leave, or to join again.

        Args:
            handlers: What they are at.
            unattended: For how many seconds records wait for free handlers.
            now: Monotonic seconds.
        """
        if self._left_at is not None:
            if handlers.active or handlers.looked_at <= self._left_at:
                return []
            self._left_at = None
            return [RejoinGroup()]
        late = max(handlers.longest(now), unattended)
        if late <= self._seconds:
            return []
        self._left_at = now
        return [LeaveGroup()]
