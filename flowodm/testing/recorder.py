"""Record every call of a handler, and every event of its loop."""

from __future__ import annotations

import inspect
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowodm.consumer.handling.calls import UNFINISHED, wants_context
from flowodm.events import Failed, Stage
from flowodm.exceptions import BatchError
from flowodm.testing.results import Attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from flowodm.consumer.handling.context import MessageContext
    from flowodm.events import Event


class Recorder:
    """Records what a loop does. Thread-safe.

    Args:
        delay_of: Returns the seconds before the next attempt at a record that has failed so
            often; for a loop whose delays are turned off. None: the events have the delays.

    Attributes:
        attempts: The calls that have ended.
        events: The loop's events.
    """

    def __init__(self, delay_of: Callable[[int], float] | None = None) -> None:
        self._delay_of = delay_of
        self.attempts: list[Attempt] = []
        self.events: list[Event] = []
        self._lock = threading.Lock()

    def observe(self, event: Event) -> None:
        """Record an event; the loop's observer."""
        self.events.append(self._with_delay(event) if isinstance(event, Failed) else event)

    def _with_delay(self, event: Failed) -> Failed:
        """Put the delay that was turned off into an event; a registry's delays are real."""
        is_retried = event.consequence == "retry" and event.stage is Stage.HANDLER
        if not is_retried or self._delay_of is None:
            return event
        return replace(event, delay=self._delay_of(event.failures))

    def handler(
        self, handler: Callable[..., Any], *, batches: bool, awaits: bool
    ) -> Callable[[Any, Any], Any]:
        """Return a handler that calls another one and records how the call ended.

        Args:
            handler: The user's handler, with or without a context.
            batches: Whether it takes lists.
            awaits: Whether its loop awaits the handler's result.
        """
        with_context = wants_context(handler)

        def call(message: Any, context: Any) -> Any:
            messages, contexts = (message, context) if batches else ([message], [context])
            arguments = (message, context) if with_context else (message,)
            return self._call(lambda: handler(*arguments), messages, contexts, awaits=awaits)

        return _named(call, handler)

    def tombstone_handler(
        self, handler: Callable[[Any], Any], *, awaits: bool
    ) -> Callable[[Any], Any]:
        """Return a handler of tombstones that calls another one and records how it ended."""

        def call(context: Any) -> Any:
            return self._call(lambda: handler(context), [None], [context], awaits=awaits)

        return _named(call, handler)

    def _call(
        self,
        call: Callable[[], Any],
        messages: Sequence[Any],
        contexts: Sequence[MessageContext],
        awaits: bool,
    ) -> Any:
        try:
            result = call()
        except BaseException as error:
            self._record(messages, contexts, error)
            raise
        if awaits and inspect.isawaitable(result):
            return self._awaited(result, messages, contexts)
        if not isinstance(result, UNFINISHED):  # the loop refuses those
            self._record(messages, contexts, None)
        return result

    async def _awaited(
        self,
        result: Awaitable[Any],
        messages: Sequence[Any],
        contexts: Sequence[MessageContext],
    ) -> None:
        try:
            await result
        except BaseException as error:
            self._record(messages, contexts, error)
            raise
        self._record(messages, contexts, None)

    def _record(
        self,
        messages: Sequence[Any],
        contexts: Sequence[MessageContext],
        error: BaseException | None,
    ) -> None:
        """Record a call; after a BatchError, the records behind the failed one were not tried."""
        first_failed, end = 0, len(messages)
        if isinstance(error, BatchError) and 0 <= error.index < len(messages):
            first_failed, end = error.index, error.index + 1
        with self._lock:
            for index, (message, context) in enumerate(
                zip(messages[:end], contexts[:end], strict=True)
            ):
                self.attempts.append(
                    Attempt(
                        message,
                        context.partition,
                        context.offset,
                        number=context.attempt,
                        error=error if index >= first_failed else None,
                    )
                )


def _named(call: Callable[..., Any], handler: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the handler's name, for error messages, but not its signature."""
    name = getattr(handler, "__qualname__", None)
    if name is not None:
        call.__qualname__ = name
    return call
