"""Which members a slot's dead processes may have left in their consumer group. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from supervisor.slot.restart import ExitCode

_CLOSED: Final = {ExitCode.DONE, ExitCode.RECORD, ExitCode.ABANDONED}
"""Exit codes of a worker that has closed its consumer; a dynamic member leaves its group then."""
_MOST: Final = 8
"""Members that are remembered at most: a worker that crashes again and again joins each time."""


@dataclass(frozen=True, slots=True)
class DeadMembers:
    """The group members of a slot's dead processes.

    Attributes:
        dead: Ids of members that may still be in the group, the latest last. A successor
            evicts them before it joins.
        left: The id of the latest member that closed its consumer. A static member stays in its
            group for a successor all the same, which matters if there is none.
    """

    dead: tuple[str, ...] = ()
    left: str | None = None

    def after(self, member_id: str | None, status: int | None) -> DeadMembers:
        """Add the member of one more dead process.

        Args:
            member_id: Its latest id; None if it reported none.
            status: The exit status, see `supervisor.slot.restart.classify`.
        """
        if member_id is None:
            return self
        if status in _CLOSED:
            return replace(self, left=member_id)
        return replace(self, dead=(*self.dead, member_id)[-_MOST:])

    def succeeded(self) -> DeadMembers:
        """Forget all members: a successor has joined, or they are being removed."""
        return DeadMembers() if self.dead or self.left else self

    def to_remove(self, *, static: bool) -> list[str]:
        """List the members to remove from the group where no successor follows."""
        left = [self.left] if static and self.left is not None else []
        return [*self.dead, *left]
