"""What follows a failed record, once for both loops.

The steps are a generator: it yields what has to be called, and the loop's shell calls it, with
or without ``await``, and sends the result or throws the exception back in.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn, assert_never

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.consumer.dead_letters.topic import LoopEndedError
from flowodm.consumer.engine.retry import CallErrorHandler, Retry, SendToDeadLetters, Skip, Stop
from flowodm.consumer.handling.recipe import Blocking, Recipe, Recovery, UserCode
from flowodm.events import DeadLettered, Outcome, Stage
from flowodm.exceptions import DeserializationError, RecordError, SchemaRegistryError, summary

if TYPE_CHECKING:
    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.retry import Verdict
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import Failure


class _LoopFailedError(Exception):
    """The record that is being recovered ends the loop."""


def recover(recipe: Recipe, dispatch: Dispatch, run: Run, failure: Failure) -> Recovery:
    """After the record at ``run.done`` failed: load, retry, hand over, skip or stop.

    Args:
        recipe: The loop's calls.
        dispatch: Decides and tells.
        run: Where it happened.
        failure: What happened.

    Returns:
        True if the run goes on; False if it is parked for a retry or over.
    """
    stage, error = failure.stage, failure.error
    if isinstance(error, SchemaNotLoadedError):
        schema_id = error.schema_id
        try:
            yield Blocking(lambda: recipe.load_schema(schema_id))
        except SchemaRegistryError as trouble:
            stage, error = Stage.REGISTRY, trouble
        except MemoryError:
            raise  # says nothing about the record: it ends the loop, here and below
        except Exception as trouble:  # noqa: BLE001 - the record's own failure, judged below
            error = trouble
        else:
            return True
    _locate(error, run)
    try:
        return (yield from _judged(recipe, dispatch, run, failure, stage, error))
    except _LoopFailedError:
        together = 1 if failure.batch is None else failure.batch.end - run.done
        dispatch.gave_up(run, together)
        return False


def _judged(
    recipe: Recipe,
    dispatch: Dispatch,
    run: Run,
    failure: Failure,
    stage: Stage,
    error: Exception,
) -> Recovery:
    """Decide, and do it; for a batch that failed as a whole, record by record."""
    verdict = dispatch.failed(run, stage, error)
    goes_on = yield from _follow(verdict, recipe, dispatch, run, stage, error, failure.message)
    batch = failure.batch
    while goes_on and batch is not None and run.done < batch.end:
        # The rest of a batch that failed as a whole has had its attempts together with the first.
        left_out = batch.left_out.get(run.done)
        if left_out is not None:
            settle(run, left_out)
            continue
        verdict = dispatch.failed(run, stage, error, last_attempt=True)
        message = batch.message(run.done)
        goes_on = yield from _follow(verdict, recipe, dispatch, run, stage, error, message)
    return goes_on


def _follow(
    verdict: Verdict,
    recipe: Recipe,
    dispatch: Dispatch,
    run: Run,
    stage: Stage,
    error: Exception,
    message: object | None,
) -> Recovery:
    """Do with the record at ``run.done`` what was decided."""
    match verdict:
        case Retry():
            return False
        case Skip():
            settle(run, Outcome.LOST if stage is Stage.REGISTRY else Outcome.SKIPPED)
            return True
        case SendToDeadLetters():
            return (yield from _bury(recipe, dispatch, run, error, message))
        case CallErrorHandler():
            return (yield from _hand_over(recipe, dispatch, run, error, message))
        case Stop(reason):
            if reason:
                error.add_note(reason)
            _give_up(recipe, run, error, stage)
        case _:
            assert_never(verdict)


def settle(run: Run, outcome: Outcome) -> None:
    """The record at ``run.done`` is settled, other than by its handler."""
    run.outcomes[run.done] = outcome
    run.ticks.append(time.monotonic())
    run.done += 1


def _bury(
    recipe: Recipe, dispatch: Dispatch, run: Run, error: Exception, message: object | None
) -> Recovery:
    """Copy the record to the dead-letter topic; only then may anybody else have it, or settle it.

    A copy that the broker does not acknowledge leaves nobody to take the record: the loop stops.
    """
    record, send = run.records[run.done], recipe.dead_letter
    assert send is not None, "judged by the same recipe"  # noqa: S101 - for the type
    try:
        yield Blocking(lambda: send(record, error))
    except MemoryError:
        raise
    except LoopEndedError:  # as a handler that did not finish in time: the record comes again
        dispatch.left(run)
        return False
    except Exception as failure:  # noqa: BLE001 - whatever it is, nobody has taken the record
        dispatch.failed(run, Stage.DEAD_LETTER, failure)
        failure.add_note(f"while handling: {summary(error)}")
        _give_up(recipe, run, failure, Stage.DEAD_LETTER)
    offset = record.offset()
    dispatch.tell(
        DeadLettered(*run.partition.tp, -1 if offset is None else offset, recipe.dead_letter_topic)
    )
    if recipe.error_handler is not None:
        return (yield from _hand_over(recipe, dispatch, run, error, message, Outcome.DEAD_LETTERED))
    settle(run, Outcome.DEAD_LETTERED)
    return True


def _hand_over(
    recipe: Recipe,
    dispatch: Dispatch,
    run: Run,
    error: Exception,
    message: object | None,
    outcome: Outcome = Outcome.ERROR_HANDLED,
) -> Recovery:
    raw, error_handler = run.records[run.done], recipe.error_handler
    assert error_handler is not None, "judged by the same recipe"  # noqa: S101 - for the type
    try:
        yield UserCode(lambda: error_handler(error, raw, message))
    except MemoryError:
        raise
    except Exception as failure:  # noqa: BLE001 - whatever it is, nobody has taken the record
        dispatch.failed(run, Stage.ERROR_HANDLER, failure)
        failure.add_note(f"while handling: {summary(error)}")
        _give_up(recipe, run, failure, Stage.ERROR_HANDLER)
    settle(run, outcome)
    return True


def _give_up(recipe: Recipe, run: Run, error: Exception, stage: Stage) -> NoReturn:
    """Nobody has taken the record at ``run.done``: the loop ends."""
    topic, partition = run.partition.tp
    offset = run.records[run.done].offset()
    final = RecordError(
        f"{stage.value} failed for good: {summary(error)}",
        topic=topic,
        partition=partition,
        offset=-1 if offset is None else offset,
    )
    final.__cause__ = error
    recipe.give_up(final)
    raise _LoopFailedError


def _locate(error: Exception, run: Run) -> None:
    if isinstance(error, DeserializationError) and error.offset is None:
        error.topic, error.partition = run.partition.tp
        error.offset = run.records[run.done].offset()
