"""What one attempt is at, and how it failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowodm.events import Outcome, Stage


@dataclass(slots=True)
class Batch:
    """Consecutive records of one run.

    Attributes:
        end: The index behind its last one.
        messages: Those that the handler gets.
        places: The index of each message's record in the run.
        left_out: The outcome of those that it does not get: tombstones, filtered records.
    """

    end: int
    messages: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    left_out: dict[int, Outcome] = field(default_factory=dict)

    def message(self, place: int) -> Any:
        """The message of the record at this index of the run."""
        return self.messages[self.places.index(place)]


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, the argument of `recovery.recover`.

    Attributes:
        stage: What failed.
        error: What it failed with.
        message: What decoding gave; None if it did not come to that.
        batch: The batch that failed as a whole, if it is not the failure of one record.
    """

    stage: Stage
    error: Exception
    message: object | None = None
    batch: Batch | None = None
