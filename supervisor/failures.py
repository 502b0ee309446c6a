"""The latest bad ends of workers, a bounded list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.fleet.member import Member
    from supervisor.slot.restart import ExitClass

KEPT = 50
"""Bad ends that are remembered."""
MESSAGE_LENGTH = 2000
"""Characters of a message that are remembered; a worker that went wrong may say anything."""


@dataclass(frozen=True, slots=True)
class BadEnd:
    """A worker that ended as it should not have.

    Attributes:
        consumer: The consumer's name.
        slot: The slot's number.
        pid: The process; None if it could not even be made.
        reason: Its class.
        message: What happened, as the worker or its exit status says.
        at: When, in seconds since the epoch.
        consequence: What followed, in words.
    """

    consumer: str
    slot: int
    pid: int | None
    reason: ExitClass
    message: str
    at: float
    consequence: str


class Failures:
    """The last `KEPT` bad ends of a fleet."""

    def __init__(self) -> None:
        self.latest: tuple[BadEnd, ...] = ()
        """Oldest first; replaced, never changed, so that any thread may read it."""

    def add(self, member: Member, reason: ExitClass, at: float, consequence: str) -> None:
        """Take the end of a slot's current process."""
        message = member.complaint
        if len(message) > MESSAGE_LENGTH:
            message = message[: MESSAGE_LENGTH - 1] + "…"
        end = BadEnd(member.consumer, member.index, member.pid, reason, message, at, consequence)
        self.latest = (*self.latest[1 - KEPT :], end)
