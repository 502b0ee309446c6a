"""The registry's levels of compatibility: who must be able to read whom. Pure."""

from __future__ import annotations

from enum import Enum


class Level(Enum):
    """What a new schema owes to the versions before it, by the registry's words.

    BACKWARD: who has the new schema can read what was written with the old one. FORWARD: the
    other way round. FULL: both. Plain levels look at the latest version, transitive ones at all.
    """

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @classmethod
    def named(cls, name: str) -> Level:
        """The level of this name, in capitals or not.

        Raises:
            ValueError: There is none.
        """
        try:
            return cls(name.upper())
        except ValueError:
            known = ", ".join(level.value for level in cls)
            raise ValueError(f"no compatibility level {name!r}: there are {known}") from None

    @property
    def reads_old(self) -> bool:
        """Whether the new schema must read what was written with old ones."""
        return self.value.startswith(("BACKWARD", "FULL"))

    @property
    def is_read_by_old(self) -> bool:
        """Whether old schemas must read what is written with the new one."""
        return self.value.startswith(("FORWARD", "FULL"))

    @property
    def transitive(self) -> bool:
        """Whether all versions count, and not only the latest."""
        return self.value.endswith("_TRANSITIVE")
