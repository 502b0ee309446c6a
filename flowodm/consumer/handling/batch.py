"""Batches: what a handler gets at once, cut so that every record keeps its own fate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowodm.consumer.handling.attempt import Batch, Failure
from flowodm.consumer.handling.calls import failure_of
from flowodm.events import Outcome, Stage
from flowodm.exceptions import BatchError

if TYPE_CHECKING:
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.recipe import Recipe


def gather(recipe: Recipe, run: Run) -> tuple[Batch, Failure | None]:
    """The next batch of a run, up to the first record that is not for the batch handler.

    That is one that cannot be read, or a tombstone if there is a handler for those. When such a
    record comes first, it is treated by itself.

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
        except Exception as error:  # noqa: BLE001 - judged by the engine, when its turn comes
            if index == run.done:
                return batch, failure_of(error, None, record)
            break
        batch.end = index + 1
    return batch, None


def settle_batch(run: Run, batch: Batch, end: int, now: float) -> None:
    """The batch's records before ``end`` are settled; they share the time evenly."""
    count = end - run.done
    if count <= 0:
        return
    run.outcomes.update({at: what for at, what in batch.left_out.items() if at < end})
    started = run.last_activity
    each = (now - started) / count
    run.ticks.extend(started + each * number for number in range(1, count))
    run.ticks.append(now)
    run.done = end


def batch_failure(run: Run, batch: Batch, error: Exception, now: float) -> Failure:
    """Whose failure it is: the one's that BatchError names, or all of them.

    What comes before it in the batch is settled.
    """
    place = _place(batch, error)
    if place is None:
        settle_batch(run, batch, batch.places[0], now)
        return Failure(Stage.HANDLER, error, batch.messages[0], batch)
    settle_batch(run, batch, place, now)
    cause = error.__cause__
    failure = cause if isinstance(cause, Exception) else error
    return Failure(Stage.HANDLER, failure, batch.message(place))


def _place(batch: Batch, error: Exception) -> int | None:
    if not isinstance(error, BatchError):
        return None
    if 0 <= error.index < len(batch.places):
        return batch.places[error.index]
    error.add_note(f"there is no message {error.index!r} in this batch of {len(batch.places)}")
    return None
