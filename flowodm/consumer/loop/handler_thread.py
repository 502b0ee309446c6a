"""The thread that handles the records of a ConsumerLoop."""

from __future__ import annotations

import contextvars
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from flowodm.blocking import run_synchronously
from flowodm.consumer.handling.batch import batch_failure, gather, settle_batch
from flowodm.consumer.handling.calls import UNFINISHED, failure_of
from flowodm.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import Batch, FailedAttempt
    from flowodm.consumer.loop.session import Session


class HandlerThread:
    """Takes runs from the dispatch and handles their records, one after the other.

    Attributes:
        busy: Whether the user's code is running.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dispatch = session.dispatch
        self._recipe = session.recipe
        self._attempt_run = self._handle_batches if session.recipe.batches else self._handle_records
        self.busy = False

    def work(self) -> None:
        """Handle runs until the loop is over; what escapes from the user's code ends it."""
        while True:
            try:
                run = self._dispatch.take()
                if run is None:
                    return
                self._handle_run(run)
            except BaseException as error:  # noqa: BLE001 - raised by run()
                # This thread goes on: what is committed before processing has nobody else.
                self._session.fail(error)

    def _handle_run(self, run: Run) -> None:
        """Handle the records of a run, and recover from their failures."""
        recipe = self._recipe
        try:
            while (failure := self._attempt_run(run)) is not None:
                recovery = recipe.recover(recipe, self._dispatch, self, run=run, failure=failure)
                if not run_synchronously(recovery):
                    return
        except BaseException:  # sys.exit(), Ctrl-C: the record is not settled
            self._dispatch.left(run)
            raise
        self._dispatch.finished(run)

    async def run_blocking(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function that may block on the network."""
        function(*args)

    async def run_user_code(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of the user in a context of its own."""
        self.busy = True
        try:
            result = contextvars.copy_context().run(function, *args)
        finally:
            self.busy = False
        refuse_unfinished(result)

    def _handle_records(self, run: Run, end: int | None = None) -> FailedAttempt | None:
        """Handle the records of a run up to an index; return the first failure.

        The hot path: what every record costs stands in this loop.
        """
        recipe = self._recipe
        decode, call, accepts, tombstone = (
            recipe.decode,
            recipe.call,
            recipe.accepts,
            recipe.tombstone,
        )
        tick, clock, new_context = run.ticks.append, time.monotonic, contextvars.copy_context
        self.busy = True
        record: Any = None
        message = None
        try:
            for record in run.records[run.done : end]:
                if run.halted:
                    break
                value = record.value()
                message = None
                if accepts is not None and not accepts(record):
                    run.outcomes[run.done] = Outcome.FILTERED
                elif value is not None:
                    message = decode(value)
                    result = call(new_context(), message, record, run)
                    if result is not None:
                        refuse_unfinished(result)
                elif tombstone is not None:
                    refuse_unfinished(tombstone(new_context(), None, record, run))
                else:
                    run.outcomes[run.done] = Outcome.TOMBSTONE
                tick(clock())
                run.done += 1
        except MemoryError:
            raise  # says nothing about the record: the loop ends, and leaves it unsettled
        except Exception as error:  # noqa: BLE001 - the record's failure, judged by the engine
            return failure_of(error, message, record)
        finally:
            self.busy = False
        return None

    def _handle_batches(self, run: Run) -> FailedAttempt | None:
        """Do the same as `_handle_records` for a handler of batches."""
        while run.done < len(run.records) and not run.halted:
            batch, failure = gather(self._recipe, run)
            if failure is not None:
                return failure
            if batch.end == run.done:  # a tombstone that has a handler of its own
                failure = self._handle_records(run, run.done + 1)
            elif batch.messages:
                failure = self._handle_batch(run, batch)
            if failure is not None:
                return failure
            settle_batch(run, batch, end=batch.end, now=time.monotonic())
        return None

    def _handle_batch(self, run: Run, batch: Batch) -> FailedAttempt | None:
        self.busy = True
        try:
            context = contextvars.copy_context()
            refuse_unfinished(self._recipe.call(context, batch.messages, batch, run))
        except MemoryError:
            raise  # as in _handle_records
        except Exception as error:  # noqa: BLE001 - judged by the engine
            return batch_failure(run, batch, error, now=time.monotonic())
        finally:
            self.busy = False
        return None


def refuse_unfinished(result: object) -> None:
    """Refuse a result that stands for work which nobody would do; others mean nothing.

    Raises:
        TypeError: It is a coroutine or a generator.
    """
    if isinstance(result, UNFINISHED):
        if isinstance(result, CoroutineType):
            result.close()
        raise TypeError(
            f"it returned a {type(result).__name__}, whose body has not run: only "
            "AsyncConsumerLoop awaits coroutines, and nobody runs generators"
        )
