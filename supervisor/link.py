"""What a worker's process reports, addressed to its slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.protocol import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.fleet.member import Member


@dataclass(frozen=True, slots=True)
class Forked:
    """A worker's process exists."""

    pid: int


@dataclass(frozen=True, slots=True)
class Unforked:
    """A worker's process could not be made."""

    message: str


@dataclass(frozen=True, slots=True)
class Garbage:
    """A worker wrote something that is no frame."""

    message: str


@dataclass(frozen=True, slots=True)
class Died:
    """A worker's death is confirmed."""

    status: int | None


Report = Frame | Forked | Unforked | Garbage | Died


@dataclass(frozen=True, slots=True)
class Link:
    """Turns what a process tells (see `Listener`) into reports of its slot."""

    member: Member
    post: Callable[[Member, Report], None]

    def spawned(self, pid: int) -> None:
        """There is a process."""
        self.post(self.member, Forked(pid))

    def received(self, frame: Frame) -> None:
        """It sent a frame."""
        self.post(self.member, frame)

    def garbled(self, message: str) -> None:
        """It wrote something else."""
        self.post(self.member, Garbage(message))

    def ended(self, status: int | None) -> None:
        """Its death is confirmed."""
        self.post(self.member, Died(status))

    def unspawned(self, message: str) -> None:
        """There is none, for this reason."""
        self.post(self.member, Unforked(message))
