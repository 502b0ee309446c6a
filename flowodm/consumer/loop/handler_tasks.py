"""The tasks that handle the records of an AsyncConsumerLoop."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from flowodm.consumer.handling.batch import batch_failure, gather, settle_batch
from flowodm.consumer.handling.calls import failure_of
from flowodm.consumer.loop.coroutines import cancelled_from_within, completed, in_thread
from flowodm.events import EndReason, Outcome, Trouble
from flowodm.exceptions import ConsumerError

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import Batch, FailedAttempt
    from flowodm.consumer.loop.session import Session

CANCEL_GRACE = 5.0
"""Seconds that cancelled handlers get to end."""
TURN = 0.01
"""Seconds for all handlers together, or one record each, before others on the event loop run.

A run of 500 records that take 5 ms each and never wait would otherwise hold it up for 2.5 s.
"""


class HandlerTasks:
    """Handles runs in tasks of one event loop; everything but :meth:`wake` happens on it.

    Args:
        size: The most tasks at a time.
        context: Each record's handler starts from a copy of it.

    Attributes:
        over: Done when the loop has no more runs to hand out.
        session: The run of the loop; set before the first wake().
    """

    def __init__(self, size: int, context: contextvars.Context) -> None:
        self._loop = asyncio.get_running_loop()
        self._size = size
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = False
        self._cancelled = False
        self._timer: asyncio.TimerHandle | None = None
        self._turn_ends = 0.0
        self._turn_is_over = False
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.session: Session

    def wake(self) -> None:
        """Look soon whether there are runs to handle; from any thread."""
        if self._loop.is_closed():
            self._leave_a_closed_loop()
            return
        if self._woken:
            return
        self._woken = True
        self._loop.call_soon_threadsafe(self._start_tasks)

    def _leave_a_closed_loop(self) -> None:
        """Leave the group at once: nobody will ever handle a record here.

        The program has closed the event loop before run() had ended, and so it never will.
        """
        switch = self.session.switch
        if not switch.urgent:
            switch.press(now=True, reason=EndReason.ERROR)
            text = "the event loop was closed before run() had ended: the consumer leaves its group"
            self.session.dispatch.tell(Trouble("event loop closed", text))

    def _start_tasks(self) -> None:
        """Start as many tasks as there are runs and places."""
        self._woken = False
        dispatch = self.session.dispatch
        if dispatch.over:
            if not self.over.done():
                self.over.set_result(None)
            return
        due = None
        while len(self._tasks) < self._size:
            run, due = dispatch.take_now()
            if run is None:
                break
            task = self._loop.create_task(self._work(run))
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)
        if due is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(max(due - time.monotonic(), 0.0), self._start_tasks)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error: BaseException | None = None
        if not task.cancelled():
            error = task.exception()
        elif not self._cancelled:
            text = "a handler's task was cancelled from outside; its record is not settled"
            error = ConsumerError(text)
        if error is not None:
            self.session.fail(error)
        self.wake()

    async def cancel(self) -> None:
        """Cancel the handlers that still run, and wait for them for CANCEL_GRACE at most."""
        self._cancelled = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_GRACE)

    async def _work(self, run: Run | None) -> None:
        """Handle this run and those that can be had after it."""
        while run is not None:
            try:
                await self._handle_run(run)
            except (SystemExit, KeyboardInterrupt) as error:
                # Out of a task they would end the event loop before this loop has drained.
                self.session.fail(error)
            if time.monotonic() >= self._turn_ends:
                await self._give_way()
            run, _ = self.session.dispatch.take_now()

    async def _handle_run(self, run: Run) -> None:
        """Handle the records of a run, and recover from their failures."""
        dispatch, recipe = self.session.dispatch, self.session.recipe
        try:
            handle = self._handle_batches if recipe.batches else self._handle_records
            while True:
                failure = await handle(run)
                if failure is not None:
                    recovery = recipe.recover(recipe, dispatch, self, run=run, failure=failure)
                    if not await recovery:
                        return
                elif run.halted or run.done == len(run.records):
                    break
                else:
                    await self._give_way()
        except BaseException:  # cancelled, SystemExit: the record is not settled
            dispatch.left(run)
            raise
        dispatch.finished(run)

    async def _give_way(self) -> None:
        """Let everything else on the event loop run; then a new turn begins for all tasks."""
        if not self._turn_is_over:
            self._turn_is_over = True
            self._loop.call_soon(self._begin_turn)
        await asyncio.sleep(0)

    def _begin_turn(self) -> None:
        self._turn_is_over = False
        self._turn_ends = time.monotonic() + TURN

    async def _handle_records(self, run: Run, end: int | None = None) -> FailedAttempt | None:
        """Handle the records of a run up to an index, or to the turn's end; return a failure.

        The hot path: what every record costs stands in this loop.
        """
        recipe = self.session.recipe
        decode, call, accepts = recipe.decode, recipe.call, recipe.accepts
        new_context, limit = self._context.copy, recipe.attempt_timeout
        tick, clock = run.ticks.append, time.monotonic
        now = 0.0
        record: Any = None
        message = None
        try:
            for record in run.records[run.done : end]:
                if run.halted or now > self._turn_ends:
                    break
                value = record.value()
                message = None
                if accepts is not None and not accepts(record):
                    run.outcomes[run.done] = Outcome.FILTERED
                elif value is None:
                    await self._handle_tombstone(run, record)
                else:
                    context = new_context()
                    message = decode(value)
                    result = call(context, message, record, run)
                    if result is not None:
                        await completed(result, context, limit)
                now = clock()
                tick(now)
                run.done += 1
        except BaseException as error:  # noqa: BLE001 - _failure raises what is none
            return failure_of(_failure(error), message, record)
        return None

    async def _handle_tombstone(self, run: Run, record: Any) -> None:
        recipe, context = self.session.recipe, self._context.copy()
        if recipe.tombstone is None:
            run.outcomes[run.done] = Outcome.TOMBSTONE
            return
        result = recipe.tombstone(context, None, record, run)
        if result is not None:
            await completed(result, context, recipe.attempt_timeout)

    async def _handle_batches(self, run: Run) -> FailedAttempt | None:
        """Do the same as `_handle_records` for a handler of batches."""
        while run.done < len(run.records) and not run.halted:
            batch, failure = gather(self.session.recipe, run)
            if failure is not None:
                return failure
            if batch.end == run.done:  # a tombstone that has a handler of its own
                failure = await self._handle_records(run, run.done + 1)
            elif batch.messages:
                failure = await self._handle_batch(run, batch)
            if failure is not None:
                return failure
            settle_batch(run, batch, end=batch.end, now=time.monotonic())
            await asyncio.sleep(0)
        return None

    async def _handle_batch(self, run: Run, batch: Batch) -> FailedAttempt | None:
        recipe, context = self.session.recipe, self._context.copy()
        try:
            result = recipe.call(context, batch.messages, batch, run)
            if result is not None:
                await completed(result, context, recipe.attempt_timeout)
        except BaseException as error:  # noqa: BLE001 - _failure raises what is none
            return batch_failure(run, batch, _failure(error), now=time.monotonic())
        return None

    async def run_blocking(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function that may block on the network, in a thread."""
        await in_thread(partial(function, *args))

    async def run_user_code(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of the user in a context of its own, and await what it returns."""
        context = self._context.copy()
        try:
            result = context.run(function, *args)
            if result is not None:
                await completed(result, context)
        except asyncio.CancelledError as error:
            raise cancelled_from_within("error handler", error) from error


def _failure(error: BaseException) -> Exception:
    """Return the error with which a handler failed; the engine judges it.

    Raises:
        CancelledError: The task is being cancelled.
        MemoryError: It says nothing about the record: the loop ends, and leaves it unsettled.
        SystemExit, KeyboardInterrupt, GeneratorExit: They end the loop, too.
    """
    if isinstance(error, asyncio.CancelledError):
        return cancelled_from_within("handler", error)
    if isinstance(error, MemoryError) or not isinstance(error, Exception):
        raise error
    return error
