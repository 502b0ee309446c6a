"""What follows a failed record, written once for both loops.

The recovery is a coroutine. It makes every call that may block, or that is the user's, through
:class:`~flowodm.consumer.handling.recipe.RecoveryCalls`. In a ConsumerLoop these calls return at
once, so that the coroutine needs no event loop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.consumer.dead_letters.topic import LoopEndedError
from flowodm.consumer.engine.retry import CallErrorHandler, Retry, SendToDeadLetters, Skip, Stop
from flowodm.events import DeadLettered, Outcome, Stage
from flowodm.exceptions import DeserializationError, RecordError, SchemaRegistryError, summary

if TYPE_CHECKING:
    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.retry import Verdict
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import FailedAttempt
    from flowodm.consumer.handling.recipe import Recipe, RecoveryCalls


class _LoopFailedError(Exception):
    """The record that is being recovered ends the loop."""


async def recover(
    recipe: Recipe, dispatch: Dispatch, calls: RecoveryCalls, *, run: Run, failure: FailedAttempt
) -> bool:
    """Recover from a failure of the record at ``run.done``.

    Loads a missing schema, or else retries the record, hands it over, skips it or ends the loop.

    Args:
        recipe: What the loop does with a record.
        dispatch: Decides what follows, and tells the observers.
        calls: Makes the calls that may block, and the user's.
        run: The run of the record.
        failure: What failed.

    Returns:
        True if the run goes on; False if it is parked for a retry or over.

    Raises:
        MemoryError: It says nothing about the record: it ends the loop.
    """
    error = failure.error
    if isinstance(error, SchemaNotLoadedError):
        try:
            await calls.run_blocking(recipe.load_schema, error.schema_id)
        except MemoryError:
            raise
        except SchemaRegistryError as registry_error:
            failure = replace(failure, stage=Stage.REGISTRY, error=registry_error)
        except Exception as load_error:  # noqa: BLE001 - the record's own failure
            failure = replace(failure, error=load_error)
        else:
            return True
    _locate(failure.error, run)
    try:
        return await _Recovery(recipe, dispatch, calls, run=run).settle(failure)
    except _LoopFailedError:
        together = 1 if failure.batch is None else failure.batch.end - run.done
        dispatch.gave_up(run, together)
        return False


@dataclass(frozen=True, slots=True)
class _Recovery:
    """Settles the records of one failed attempt, or parks their run."""

    recipe: Recipe
    dispatch: Dispatch
    calls: RecoveryCalls
    run: Run

    async def settle(self, failure: FailedAttempt) -> bool:
        """Do what is decided; for a batch that failed as a whole, record by record."""
        run, batch = self.run, failure.batch
        verdict = self.dispatch.failed(run, failure.stage, failure.error)
        goes_on = await self._follow(verdict, failure)
        while goes_on and batch is not None and run.done < batch.end:
            # The other records of the batch have had all their attempts together with the first.
            left_out = batch.left_out.get(run.done)
            if left_out is not None:
                settle(run, left_out)
                continue
            verdict = self.dispatch.failed(run, failure.stage, failure.error, last_attempt=True)
            one = replace(failure, message=batch.message(run.done))
            goes_on = await self._follow(verdict, one)
        return goes_on

    async def _follow(self, verdict: Verdict, failure: FailedAttempt) -> bool:
        """Do with the record at ``run.done`` what was decided."""
        match verdict:
            case Retry():
                return False
            case Skip():
                lost = failure.stage is Stage.REGISTRY
                settle(self.run, Outcome.LOST if lost else Outcome.SKIPPED)
                return True
            case SendToDeadLetters():
                return await self._send_to_dead_letters(failure)
            case CallErrorHandler():
                await self._call_error_handler(failure)
                settle(self.run, Outcome.ERROR_HANDLED)
                return True
            case Stop(reason):
                if reason:
                    failure.error.add_note(reason)
                raise self._give_up(failure.error, failure.stage)
            case _:
                assert_never(verdict)

    async def _send_to_dead_letters(self, failure: FailedAttempt) -> bool:
        """Copy the record to the dead-letter topic; only then hand it over or settle it.

        If the broker does not acknowledge the copy, nobody has taken the record: the loop ends.
        """
        run, send = self.run, self.recipe.dead_letter
        record = run.records[run.done]
        assert send is not None, "judged by the same recipe"  # noqa: S101 - for the type
        try:
            await self.calls.run_blocking(send, record, failure.error)
        except MemoryError:
            raise
        except LoopEndedError:  # as a handler that did not finish in time: the record comes again
            self.dispatch.left(run)
            return False
        except Exception as error:
            raise self._give_up_after(error, Stage.DEAD_LETTER, failure) from error
        topic = self.recipe.dead_letter_topic
        self.dispatch.tell(DeadLettered(*run.partition.tp, _offset(run), topic))
        if self.recipe.error_handler is not None:
            await self._call_error_handler(failure)
        settle(run, Outcome.DEAD_LETTERED)
        return True

    async def _call_error_handler(self, failure: FailedAttempt) -> None:
        """Hand the record over; if the error handler raises, nobody has taken the record."""
        raw, error_handler = self.run.records[self.run.done], self.recipe.error_handler
        assert error_handler is not None, "judged by the same recipe"  # noqa: S101 - for the type
        try:
            await self.calls.run_user_code(error_handler, failure.error, raw, failure.message)
        except MemoryError:
            raise
        except Exception as error:
            raise self._give_up_after(error, Stage.ERROR_HANDLER, failure) from error

    def _give_up_after(
        self, error: Exception, stage: Stage, failure: FailedAttempt
    ) -> _LoopFailedError:
        """End the loop because what follows a failure has failed too."""
        self.dispatch.failed(self.run, stage, error)
        error.add_note(f"while handling: {summary(failure.error)}")
        return self._give_up(error, stage)

    def _give_up(self, error: Exception, stage: Stage) -> _LoopFailedError:
        """End the loop: nobody has taken the record at ``run.done``."""
        topic, partition = self.run.partition.tp
        final = RecordError(
            f"{stage.value} failed for good: {summary(error)}",
            topic=topic,
            partition=partition,
            offset=_offset(self.run),
        )
        final.__cause__ = error
        self.recipe.give_up(final)
        return _LoopFailedError()


def settle(run: Run, outcome: Outcome) -> None:
    """Settle the record at ``run.done`` in another way than by its handler."""
    run.outcomes[run.done] = outcome
    run.ticks.append(time.monotonic())
    run.done += 1


def _offset(run: Run) -> int:
    offset = run.records[run.done].offset()
    return -1 if offset is None else offset


def _locate(error: Exception, run: Run) -> None:
    """Say in a deserialization error which record it is about."""
    if isinstance(error, DeserializationError) and error.offset is None:
        error.topic, error.partition = run.partition.tp
        error.offset = run.records[run.done].offset()
