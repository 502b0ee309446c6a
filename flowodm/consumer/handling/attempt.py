"""One attempt: the records of a batch, and a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowodm.events import Outcome, Stage


@dataclass(slots=True)
class Batch:
    """Consecutive records of one run.

    Attributes:
        end: The index in the run behind the last record.
        messages: The handler's argument.
        places: The index in the run of each message's record.
        left_out: The outcomes, by index, of records without a message: tombstones, filtered ones.
    """

    end: int
    messages: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    left_out: dict[int, Outcome] = field(default_factory=dict)

    def message(self, place: int) -> Any:
        """Return the message of the record at this index of the run."""
        return self.messages[self.places.index(place)]


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """How an attempt at a record or a batch has failed.

    Attributes:
        stage: The stage that failed.
        error: The exception.
        message: The decoded message; None if decoding has failed, or comes later.
        batch: The batch, if it has failed as a whole; None: one record has failed.
    """

    stage: Stage
    error: Exception
    message: object | None = None
    batch: Batch | None = None
