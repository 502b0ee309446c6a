"""Notes every call of a handler, without the handler's noticing it."""

from __future__ import annotations

import inspect
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowodm.consumer.handling.calls import wants_context
from flowodm.consumer.loop.sync import UNFINISHED
from flowodm.events import Failed, Stage
from flowodm.exceptions import BatchError
from flowodm.testing.results import Attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from flowodm.consumer.handling.context import MessageContext
    from flowodm.events import Event


class Recorder:
    """What a loop does, as it does it. Thread-safe.

    Args:
        delay_of: The seconds before the next attempt at a record that has failed so often, where
            the loop was told not to wait.

    Attributes:
        attempts: The calls that have ended.
        events: What the loop told its observers.
    """

    def __init__(self, delay_of: Callable[[int], float] | None = None) -> None:
        self._delay_of = delay_of
        self.attempts: list[Attempt] = []
        self.events: list[Event] = []
        self._lock = threading.Lock()

    def observe(self, event: Event) -> None:
        """An observer for the loop."""
        self.events.append(self._with_delay(event) if isinstance(event, Failed) else event)

    def _with_delay(self, event: Failed) -> Failed:
        """A registry is waited for in any case."""
        retried = event.consequence == "retry" and event.stage is Stage.HANDLER
        if not retried or self._delay_of is None:
            return event
        return replace(event, delay=self._delay_of(event.failures))

    def handler(
        self, handler: Callable[..., Any], *, batches: bool, awaits: bool
    ) -> Callable[[Any, Any], Any]:
        """A handler that calls another one and notes how it ended.

        Args:
            handler: As the user has written it, with or without a context.
            batches: Whether it takes lists.
            awaits: Whether its loop awaits what it returns.
        """
        with_context = wants_context(handler)

        def call(message: Any, context: Any) -> Any:
            messages, contexts = (message, context) if batches else ([message], [context])
            arguments = (message, context) if with_context else (message,)
            return self._call(lambda: handler(*arguments), messages, contexts, awaits)

        return _named(call, handler)

    def tombstone_handler(
        self, handler: Callable[[Any], Any], *, awaits: bool
    ) -> Callable[[Any], Any]:
        """The same for a handler of tombstones."""

        def call(context: Any) -> Any:
            return self._call(lambda: handler(context), [None], [context], awaits)

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
            self._note(messages, contexts, error)
            raise
        if awaits and inspect.isawaitable(result):
            return self._awaited(result, messages, contexts)
        if not isinstance(result, UNFINISHED):  # else the loop refuses it
            self._note(messages, contexts, None)
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
            self._note(messages, contexts, error)
            raise
        self._note(messages, contexts, None)

    def _note(
        self,
        messages: Sequence[Any],
        contexts: Sequence[MessageContext],
        error: BaseException | None,
    ) -> None:
        """What a batch error says: those before its record are done, those behind come again."""
        first_bad, end = 0, len(messages)
        if isinstance(error, BatchError) and 0 <= error.index < len(messages):
            first_bad, end = error.index, error.index + 1
        with self._lock:
            for index, (message, context) in enumerate(
                zip(messages[:end], contexts[:end], strict=True)
            ):
                bad = error if index >= first_bad else None
                self.attempts.append(
                    Attempt(message, context.partition, context.offset, context.attempt, bad)
                )


def _named(call: Callable[..., Any], after: Callable[..., Any]) -> Callable[..., Any]:
    """Give it the other's name, for error messages; not its signature."""
    name = getattr(after, "__qualname__", None)
    if name is not None:
        call.__qualname__ = name
    return call
