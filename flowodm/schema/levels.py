"""Define the registry's compatibility levels: which schema must read which records. Pure."""

from __future__ import annotations

from enum import Enum


class Level(Enum):
    """A compatibility level, by the registry's name.

    BACKWARD: a reader with the new schema can read records of the old one. FORWARD: a reader
    with the old schema can read records of the new one. FULL: both. Plain levels compare with
    the latest version, transitive levels with all versions.
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
        """Return the level of a name, in upper or lower case.

        Raises:
            ValueError: There is no such level.
        """
        try:
            return cls(name.upper())
        except ValueError:
            names = ", ".join(level.value for level in cls)
            raise ValueError(f"no compatibility level {name!r}: must be one of {names}") from None

    @property
    def reads_old(self) -> bool:
        """Whether the new schema must read records of old ones."""
        return self.value.startswith(("BACKWARD", "FULL"))

    @property
    def is_read_by_old(self) -> bool:
        """Whether old schemas must read records of the new one."""
        return self.value.startswith(("FORWARD", "FULL"))

    @property
    def transitive(self) -> bool:
        """Whether to compare with all versions, not only the latest."""
        return self.value.endswith("_TRANSITIVE")
