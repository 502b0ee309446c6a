"""What follows a failed record, once for both loops.

The steps are a generator: it yields what has to be called, and the loop's shell calls it, with
or without ``await``, and sends the result or throws the exception back in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.consumer.retry import CallErrorHandler, Retry, SendToDeadLetters, Skip, Stop
from flowodm.events import Outcome, Stage
from flowodm.exceptions import DeserializationError, RecordError, SchemaRegistryError, summary

if TYPE_CHECKING:
    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.ordering import Run


@dataclass(frozen=True, slots=True)
class Blocking:
    """Call this; it may block on the network."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class UserCode:
    """Call this; it is the user's and may return an awaitable."""

    call: Callable[[], Any]


Step = Blocking | UserCode
#: Ends with whether the run goes on with the caller.
Recovery = Generator[Step, Any, bool]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to do with a record's bytes.

    Attributes:
        decode: Bytes to message, without I/O.
        load_schema: Fetches the writer's schema of an id; blocks.
        handler: The user's handler.
        error_handler: The user's error handler, if there is one.
        give_up: Told the error that ends the loop.
    """

    decode: Callable[[bytes], Any]
    load_schema: Callable[[int], None]
    handler: Callable[[Any], Any]
    error_handler: Callable[[Exception, Any, Any], Any] | None
    give_up: Callable[[BaseException], None]


def recover(
    recipe: Recipe, dispatch: Dispatch, run: Run, error: Exception, message: object | None
) -> Recovery:
    """After the record at ``run.done`` raised: load, retry, hand over, skip or stop.

    Args:
        recipe: The loop's calls.
        dispatch: Decides and tells.
        run: Where it happened.
        error: What decoding or the handler raised.
        message: What decoding gave; None if decoding raised.

    Returns:
        True if the run goes on; False if it is parked for a retry or over.
    """
    stage = Stage.DESERIALIZE if message is None else Stage.HANDLER
    if message is None and isinstance(error, SchemaNotLoadedError):
        schema_id = error.schema_id
        try:
            yield Blocking(lambda: recipe.load_schema(schema_id))
        except SchemaRegistryError as failure:
            stage, error = Stage.REGISTRY, failure
        except Exception as failure:  # noqa: BLE001 - the record's own failure, judged below
            error = failure
        else:
            return True
    _locate(error, run)
    verdict = dispatch.failed(run, stage, error)
    match verdict:
        case Retry():
            return False
        case Skip():
            settle(run, Outcome.LOST if stage is Stage.REGISTRY else Outcome.SKIPPED)
            return True
        case CallErrorHandler() | SendToDeadLetters():
            return (yield from _hand_over(recipe, dispatch, run, error, message))
        case Stop():
            _give_up(recipe, dispatch, run, error, stage)
            return False
        case _:
            assert_never(verdict)


def settle(run: Run, outcome: Outcome) -> None:
    """The record at ``run.done`` is settled, other than by its handler."""
    run.outcomes[run.done] = outcome
    run.ticks.append(time.monotonic())
    run.done += 1


def _hand_over(
    recipe: Recipe, dispatch: Dispatch, run: Run, error: Exception, message: object | None
) -> Recovery:
    raw, error_handler = run.records[run.done], recipe.error_handler
    assert error_handler is not None, "judged by the same recipe"  # noqa: S101 - for the type
    try:
        yield UserCode(lambda: error_handler(error, raw, message))
    except Exception as failure:  # noqa: BLE001 - whatever it is, nobody has taken the record
        dispatch.failed(run, Stage.ERROR_HANDLER, failure)
        failure.add_note(f"while handling: {summary(error)}")
        _give_up(recipe, dispatch, run, failure, Stage.ERROR_HANDLER)
        return False
    settle(run, Outcome.ERROR_HANDLED)
    return True


def _give_up(recipe: Recipe, dispatch: Dispatch, run: Run, error: Exception, stage: Stage) -> None:
    topic, partition = run.partition.tp
    offset = run.records[run.done].offset()
    final = RecordError(
        f"{stage.value} failed for good: {summary(error)}",
        topic=topic,
        partition=partition,
        offset=-1 if offset is None else offset,
    )
    final.__cause__ = error
    run.halted = True
    recipe.give_up(final)
    dispatch.finished(run)


def _locate(error: Exception, run: Run) -> None:
    if isinstance(error, DeserializationError) and error.offset is None:
        error.topic, error.partition = run.partition.tp
        error.offset = run.records[run.done].offset()
