"""Calls the user's functions: with which arguments, and in which context."""

from __future__ import annotations

import inspect
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from flowodm.consumer.handling.attempt import FailedAttempt
from flowodm.consumer.handling.context import MessageContext, headers_of
from flowodm.events import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from confluent_kafka import Message

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.recipe import Call

    MakeContext = Callable[[Message, Run], MessageContext]
    """Makes the MessageContext of a record of a run."""


UNFINISHED: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
"""Types of results whose body has not run yet."""


class FilterError(Exception):
    """The user's header filter has raised; its exception is the ``__cause__``."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("the header filter failed")
        self.__cause__ = cause
        self.cause = cause


def wants_context(handler: Callable[..., Any]) -> bool:
    """Return whether a handler takes (message, context) rather than (message).

    It does if its second positional parameter has no default, is called ``context`` (a batch
    handler's: ``contexts``), or is annotated with MessageContext.
    """
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False  # some functions written in C have no signature
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(positional) < 2:  # noqa: PLR2004 - the message and the context
        return False
    second = positional[1]
    if second.default is second.empty or second.name in {"context", "contexts"}:
        return True
    annotation = second.annotation
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == MessageContext.__name__
    return annotation is MessageContext


def caller(handler: Callable[..., Any], make_context: MakeContext) -> Call:
    """Make the call of a handler. It runs in a contextvars.Context, one for each record.

    So the next record's handler does not see a context variable (a trace id, a tenant) that this
    record's handler sets. It costs 0.2 µs a record.
    """
    if wants_context(handler):
        return lambda context, message, record, run: context.run(
            handler, message, make_context(record, run)
        )
    return lambda context, message, _record, _run: context.run(handler, message)


def batch_caller(handler: Callable[..., Any], make_context: MakeContext) -> Call:
    """Make the call of a batch handler: (messages) or (messages, contexts)."""
    if not wants_context(handler):
        return lambda context, messages, _batch, _run: context.run(handler, messages)

    def call(context: Context, messages: list[Any], batch: Any, run: Run) -> Any:
        records: Any = run.records
        return context.run(handler, messages, [make_context(records[p], run) for p in batch.places])

    return call


def tombstone_caller(handler: Callable[..., Any], make_context: MakeContext) -> Call:
    """Make the call of a tombstone handler: (context), as there is no message."""
    return lambda context, _message, record, run: context.run(handler, make_context(record, run))


def acceptor(header_filter: Callable[[dict[str, bytes | None]], Any]) -> Callable[[Message], bool]:
    """Make the function that says whether a record is handled, by its headers.

    It raises:
        FilterError: The filter has raised.
    """

    def accepts(record: Message) -> bool:
        headers = dict(headers_of(record))
        try:
            return bool(header_filter(headers))
        except MemoryError:
            raise
        except Exception as error:
            raise FilterError(error) from error

    return accepts


def failure_of(error: Exception, message: object | None, record: Message) -> FailedAttempt:
    """Attribute an exception to the stage of the record that has failed."""
    if isinstance(error, FilterError):
        return FailedAttempt(Stage.FILTER, error.cause)
    if message is None and record.value() is not None:
        return FailedAttempt(Stage.DESERIALIZE, error)
    return FailedAttempt(Stage.HANDLER, error, message)
