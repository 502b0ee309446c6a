"""Cuts a run into batches, so that every record keeps an outcome of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowodm.consumer.handling.attempt import Batch, FailedAttempt
from flowodm.consumer.handling.calls import failure_of
from flowodm.events import Outcome, Stage
from flowodm.exceptions import BatchError

if TYPE_CHECKING:
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.recipe import Recipe


def gather(recipe: Recipe, run: Run) -> tuple[Batch, FailedAttempt | None]:
    """Decode the next batch of a run, up to a record that is not for the batch handler.

    Such a record cannot be decoded, or is a tombstone that has a handler of its own. If it comes
    first, it is handled by itself.

    Returns:
        The batch, and the failure of its first record if that cannot be decoded or filtered.
    """
    batch = Batch(run.done)
    for index in range(run.done, len(run.records)):
        record: Any = run.records[index]
        try:
            if recipe.accepts is not None and not recipe.accepts(record):
                batch.left_out[index] = Outcome.FILTERED
            elif (value := record.value()) is not None:
                batch.messages.append(recipe.decode(value))
                batch.places.append(index)
            elif recipe.tombstone is None:
                batch.left_out[index] = Outcome.TOMBSTONE
            else:
                break
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the record's failure, judged in its turn
            if index == run.done:
                return batch, failure_of(error, None, record)
            break
        batch.end = index + 1
    return batch, None


def settle_batch(run: Run, batch: Batch, end: int, now: float) -> None:
    """Settle the batch's records before an index of the run; they share the time evenly."""
    count = end - run.done
    if count <= 0:
        return
    for index, outcome in batch.left_out.items():
        if index < end:
            run.outcomes[index] = outcome
    started = run.last_activity
    seconds = (now - started) / count
    run.ticks.extend(started + seconds * number for number in range(1, count))
    run.ticks.append(now)
    run.done = end


def batch_failure(run: Run, batch: Batch, error: Exception, now: float) -> FailedAttempt:
    """Attribute a batch handler's error to the record that BatchError names, or to all records.

    The records before the failed one are settled.
    """
    index = _failed_index(batch, error)
    if index is None:
        settle_batch(run, batch, end=batch.places[0], now=now)
        return FailedAttempt(Stage.HANDLER, error, batch.messages[0], batch=batch)
    settle_batch(run, batch, end=index, now=now)
    cause = error.__cause__
    if isinstance(cause, Exception):
        error = cause
    return FailedAttempt(Stage.HANDLER, error, batch.message(index))


def _failed_index(batch: Batch, error: Exception) -> int | None:
    """Return the index in the run of the record that a BatchError names."""
    if not isinstance(error, BatchError):
        return None
    if 0 <= error.index < len(batch.places):
        return batch.places[error.index]
    error.add_note(f"there is no message {error.index!r} in this batch of {len(batch.places)}")
    return None
