"""How the user's functions are called: with which arguments, in which context."""

from __future__ import annotations

import inspect
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from flowodm.consumer.handling.attempt import Failure
from flowodm.consumer.handling.context import MessageContext, headers_of
from flowodm.events import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from confluent_kafka import Message

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.recipe import Call

    #: Makes the context of a record of a run.
    MakeContext = Callable[[Message, Run], MessageContext]


UNFINISHED: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
"""Types of results whose body has not run yet."""


class FilterError(Exception):
    """The user's header filter raised; its exception is the ``__cause__``."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("the header filter failed")
        self.__cause__ = cause
        self.cause = cause


def wants_context(handler: Callable[..., Any]) -> bool:
    """Whether a handler takes (message, context) rather than (message).

    It does if its second positional parameter has no default, is called ``context`` (a batch
    handler's: ``contexts``), or is annotated with MessageContext.
    """
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return False  # some functions written in C do not tell
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(positional) < 2:  # noqa: PLR2004 - the message and the context
        return False
    second = positional[1]
    annotated = second.annotation is MessageContext or (
        isinstance(second.annotation, str)
        and second.annotation.rpartition(".")[2] == MessageContext.__name__
    )
    return second.default is second.empty or second.name in {"context", "contexts"} or annotated


def caller(handler: Callable[..., Any], make_context: MakeContext) -> Call:
    """The call of a handler; each record has a contextvars.Context of its own.

    So a variable that one record's handler sets (a trace id, a tenant) is not seen by the next
    record's. It costs 0.2 µs a record.
    """
    if wants_context(handler):
        return lambda context, message, record, run: context.run(
            handler, message, make_context(record, run)
        )
    return lambda context, message, _record, _run: context.run(handler, message)


def batch_caller(handler: Callable[..., Any], make_context: MakeContext) -> Call:
    """The call of a batch handler: (messages) or (messages, contexts)."""
    if not wants_context(handler):
        return lambda context, messages, _batch, _run: context.run(handler, messages)

    def call(context: Context, messages: list[Any], batch: Any, run: Run) -> Any:
        records: Any = run.records
        return context.run(handler, messages, [make_context(records[p], run) for p in batch.places])

    return call


def tombstone_caller(handler: Callable[..., Any], make_context: MakeContext) -> Call:
    """The call of a tombstone handler, which gets the context only: there is no message."""
    return lambda context, _message, record, run: context.run(handler, make_context(record, run))


def acceptor(header_filter: Callable[[dict[str, bytes | None]], Any]) -> Callable[[Message], bool]:
    """Whether a record is to be handled, by its headers.

    Raises:
        FilterError: The filter raised.
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


def failure_of(error: Exception, message: object | None, record: Message) -> Failure:
    """Which stage an exception in the middle of a record belongs to."""
    if isinstance(error, FilterError):
        return Failure(Stage.FILTER, error.cause)
    if message is None and record.value() is not None:
        return Failure(Stage.DESERIALIZE, error)
    return Failure(Stage.HANDLER, error, message)
