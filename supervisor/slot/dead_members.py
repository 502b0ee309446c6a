"""What a slot's dead processes may have left behind in their consumer group. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from supervisor.slot.restart import ExitCode

_LEAVES: Final = {ExitCode.DONE, ExitCode.RECORD, ExitCode.ABANDONED}
"""Exit codes of a worker that has closed its consumer, which leaves the group in good order."""
_MOST: Final = 8
"""Members that are remembered: a worker that dies over and over again joins each time."""


@dataclass(frozen=True, slots=True)
class DeadMembers:
    """The members of a slot's processes whose death is confirmed.

    Attributes:
        dead: Ids of members that may still be in the group, the latest last. A successor
            evicts them before it joins.
        left: The id of the latest one that closed its consumer. A static member stays in its
            group for a successor even so, which matters if there is none.
    """

    dead: tuple[str, ...] = ()
    left: str | None = None

    def after(self, member_id: str | None, status: int | None) -> DeadMembers:
        """One more process is dead.

        Args:
            member_id: The id it had last; None if it had reported none.
            status: Its exit status, see `supervisor.slot.restart.classify`.
        """
        if member_id is None:
            return self
        if status in _LEAVES:
            return replace(self, left=member_id)
        return replace(self, dead=(*self.dead, member_id)[-_MOST:])

    def succeeded(self) -> DeadMembers:
        """A successor has joined: nobody has to be evicted for it any more."""
        return DeadMembers() if self.dead or self.left else self

    def to_remove(self, *, static: bool) -> list[str]:
        """Whom to take out of the group where no successor follows."""
        left = [self.left] if static and self.left is not None else []
        return [*self.dead, *left]
