"""The recipe: the functions that a loop calls for a record, the same for both loops."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flowodm.consumer.engine.run import Run

if TYPE_CHECKING:
    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.handling.attempt import FailedAttempt


Call = Callable[[Context, Any, Any, Run], Any]
"""Calls the handler in a contextvars.Context: with a message and its record of a run, or with a
batch's messages and the batch."""


class RecoveryCalls(Protocol):
    """Makes the calls of a recovery: in the handler's thread, or on the event loop."""

    async def run_blocking(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function that may block on the network."""

    async def run_user_code(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of the user, and await what it returns."""


class Recover(Protocol):
    """Recovers from a failure: `recovery.recover`, or the same inside a span."""

    async def __call__(
        self,
        recipe: Recipe,
        dispatch: Dispatch,
        calls: RecoveryCalls,
        *,
        run: Run,
        failure: FailedAttempt,
    ) -> bool:
        """Return whether the run goes on."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The functions that a loop calls for a record, and their options.

    Attributes:
        decode: Decodes a value, without I/O.
        load_schema: Fetches the writer's schema with an id from the registry; blocks.
        call: Calls the handler in a contextvars.Context.
        give_up: Ends the loop because of an error.
        recover: Recovers from a failure: `recovery.recover`, or the same inside a span.
        accepts: Returns whether a record is handled, by its headers; None: every record is.
        tombstone: Calls the tombstone handler; None: tombstones are only counted.
        error_handler: The user's error handler; None: there is none.
        dead_letter: Copies a record to the dead-letter topic and waits for the broker's
            acknowledgement; blocks. None: there is no such topic.
        dead_letter_topic: The topic's name.
        attempt_timeout: Seconds that one attempt of an async handler may take; None: no limit.
        batches: Whether the handler takes lists of messages.
    """

    decode: Callable[[bytes], Any]
    load_schema: Callable[[int], None]
    call: Call
    give_up: Callable[[BaseException], None]
    recover: Recover
    accepts: Callable[[Any], bool] | None = None
    tombstone: Call | None = None
    error_handler: Callable[[Exception, Any, Any], Any] | None = None
    dead_letter: Callable[[Any, Exception], None] | None = None
    dead_letter_topic: str = ""
    attempt_timeout: float | None = None
    batches: bool = False
