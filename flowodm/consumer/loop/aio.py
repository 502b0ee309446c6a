"""AsyncConsumerLoop: coroutine functions as handlers, many at a time on one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from flowodm.consumer.handling.batch import batch_failure, gather, settle_batch
from flowodm.consumer.handling.calls import failure_of
from flowodm.consumer.loop.coroutines import cancelled_from_within, completed, in_thread
from flowodm.consumer.loop.lifecycle import Loop
from flowodm.consumer.loop.signals import stop_on_signals
from flowodm.consumer.loop.watchdog import Watchdog
from flowodm.consumer.options.arguments import make_options
from flowodm.events import EndReason, LoopState, Outcome, Trouble
from flowodm.exceptions import ConsumerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import Batch, Failure
    from flowodm.consumer.handling.context import Handler
    from flowodm.consumer.loop.session import Session
    from flowodm.consumer.options.arguments import MoreOptions
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings

#: Seconds that cancelled handlers get to end.
CANCEL_GRACE = 5.0
#: Seconds for all handlers together, or one record each, before others on the event loop run. A
#: run of 500 records that take 5 ms each and never wait would otherwise hold it up for 2.5 s.
TURN = 0.01


class AsyncConsumerLoop(Loop):
    """ConsumerLoop for coroutine functions: up to ``max_concurrent`` handlers at a time.

    The arguments are those of :class:`flowodm.consumer.loop.sync.ConsumerLoop`, with these
    differences: ``max_concurrent`` is 10 by default, ``ordering`` is "key" (messages with the
    same key one after the other, those without a key in any order; "partition" with
    ``batch_size``), and handlers and hooks may be coroutine functions or plain ones. Handlers
    that run past ``drain_timeout`` after a stop are cancelled.

    Raises:
        TypeError: There is no such option.
        ValueError: A choice does not exist, or a number is out of its range.
        ConfigurationError: A function does not take what it will get.
        SettingsError: ``consumer_config`` sets what belongs to the loop.
    """

    def __init__(
        self,
        model: type[FlowBaseModel],
        handler: Handler,
        settings: BaseSettings | None = None,
        group_id: str | None = None,
        error_handler: Callable[[Exception, Message, Any], Any] | None = None,
        on_startup: Callable[[], Any] | None = None,
        on_shutdown: Callable[[], Any] | None = None,
        max_concurrent: int = 10,
        commit_strategy: str = "before_processing",
        max_retries: int = 0,
        retry_delay: float = 1.0,
        poll_timeout: float = 1.0,
        **more: Unpack[MoreOptions],
    ) -> None:
        super().__init__(
            make_options(
                model=model,
                handler=handler,
                settings=settings,
                group_id=group_id,
                error_handler=error_handler,
                on_startup=on_startup,
                on_shutdown=on_shutdown,
                commit_strategy=commit_strategy,
                max_retries=max_retries,
                retry_delay=retry_delay,
                poll_timeout=poll_timeout,
                defaults={"max_concurrent": max_concurrent, "ordering": "key"},
                more=more,
            )
        )
        self._hook: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()

    async def __call__(self) -> None:
        """The same as :meth:`run`: a decorated handler starts its loop when it is awaited."""
        await self.run()

    async def run(self) -> None:
        """Consume until stop(), SIGTERM, SIGINT or cancellation.

        A cancelled run() drains before it ends; cancelled a second time it no longer waits for
        its handlers. A second signal cancels handlers and hooks.

        Raises:
            RecordError, FencedError, ConsumerError, ConfigurationError: As ConsumerLoop.run().
            asyncio.CancelledError: It, or a hook by a second signal, was cancelled.
        """
        # Hooks and handlers see what the caller's and the startup hook's context variables hold.
        self._context = contextvars.copy_context()
        crew = _Crew(self.options.max_concurrent, self._context)
        with self._session_of_a_run(crew.wake) as session:
            crew.session = session
            watchdog = Watchdog(asyncio.get_running_loop(), session.dispatch.tell)
            signals = stop_on_signals(self._on_signal, enabled=self.options.handle_signals)
            with signals, watchdog:
                try:
                    session.dispatch.enter_state(LoopState.STARTING)
                    await self._start_hook(self.options.on_startup, session)
                    session.start()
                except BaseException as error:  # noqa: BLE001 - raised again at the end
                    this = asyncio.current_task()
                    if isinstance(error, asyncio.CancelledError) and this and this.cancelling():
                        session.cancel(error)
                    else:
                        session.fail(error)  # also if the hook cancelled itself
                await _finish(crew.over, session)
                await _finish(asyncio.ensure_future(crew.dismiss()), session)
                session.dispatch.enter_state(LoopState.DRAINING)  # also if it never ran
                await _finish(self._start_hook(self.options.on_shutdown, session), session)
                await _finish(asyncio.ensure_future(in_thread(session.close)), session)
            session.raise_first_error()

    def _start_hook(self, hook: Callable[[], Any] | None, session: Session) -> asyncio.Task[None]:
        running = asyncio.get_running_loop()
        self._hook = running.create_task(_call(hook, session), context=self._context)
        return self._hook

    def _on_signal(self, signum: int) -> None:
        super()._on_signal(signum)
        if self._signals > 1 and self._hook is not None:
            # Handlers are cancelled by the end of the drain; a hook that hangs has nobody else.
            self._hook.get_loop().call_soon_threadsafe(self._hook.cancel)


class _Crew:
    """The tasks that work off runs; everything but wake() happens on the event loop."""

    def __init__(self, size: int, context: contextvars.Context) -> None:
        self._loop = asyncio.get_running_loop()
        self._size = size
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = False
        self._dismissed = False
        self._timer: asyncio.TimerHandle | None = None
        self._turn_ends = 0.0
        self._turn_is_over = False
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.session: Session

    def wake(self) -> None:
        """There may be something to do; from any thread."""
        if self._loop.is_closed():
            self._leave_a_closed_loop()
            return
        if self._woken:
            return
        self._woken = True
        self._loop.call_soon_threadsafe(self._pump)

    def _leave_a_closed_loop(self) -> None:
        """Nobody will ever handle anything here: the partitions are for other members.

        run() has not ended, and cannot any more: the program has closed the event loop under it.
        """
        switch = self.session.switch
        if not switch.urgent:
            switch.press(now=True, reason=EndReason.ERROR)
            text = "the event loop was closed before run() had ended: the consumer leaves its group"
            self.session.dispatch.tell(Trouble("event loop closed", text))

    def _pump(self) -> None:
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
            task.add_done_callback(self._ended)
        if due is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(max(due - time.monotonic(), 0.0), self._pump)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
        else:
            text = "a handler's task was cancelled from outside; its record is not settled"
            error = None if self._dismissed else ConsumerError(text)
        if error is not None:
            self.session.fail(error)
        self.wake()

    async def dismiss(self) -> None:
        """Cancel the handlers that still run, and wait for them, bounded."""
        self._dismissed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_GRACE)

    async def _work(self, run: Run | None) -> None:
        while run is not None:
            try:
                await self._work_off(run)
            except (SystemExit, KeyboardInterrupt) as error:
                # Out of a task they would end the event loop before this loop has drained.
                self.session.fail(error)
            if time.monotonic() >= self._turn_ends:
                await self._give_way()
            run, _ = self.session.dispatch.take_now()

    async def _work_off(self, run: Run) -> None:
        dispatch, recipe = self.session.dispatch, self.session.recipe
        try:
            handle = self._through_batches if recipe.batches else self._handle
            while True:
                failure = await handle(run)
                if failure is not None:
                    if not await recipe.recover(recipe, dispatch, self, run, failure):
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
        """Let everything else on the event loop run; after that another turn begins for all."""
        if not self._turn_is_over:
            self._turn_is_over = True
            self._loop.call_soon(self._next_turn)
        await asyncio.sleep(0)

    def _next_turn(self) -> None:
        self._turn_is_over = False
        self._turn_ends = time.monotonic() + TURN

    async def _handle(self, run: Run, end: int | None = None) -> Failure | None:
        """The hot path: what every record costs stands in this loop.

        It comes back without a failure at the end of the run, or of the turn.
        """
        recipe = self.session.recipe
        decode, call, accepts, tombstone = (
            recipe.decode,
            recipe.call,
            recipe.accepts,
            recipe.tombstone,
        )
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
                elif value is None and tombstone is None:
                    run.outcomes[run.done] = Outcome.TOMBSTONE
                else:
                    context = new_context()
                    if value is None and tombstone is not None:
                        result = tombstone(context, None, record, run)
                    else:
                        message = decode(value)
                        result = call(context, message, record, run)
                    if result is not None:
                        await completed(result, context, limit)
                now = clock()
                tick(now)
                run.done += 1
        except asyncio.CancelledError as error:
            return failure_of(cancelled_from_within("handler", error), message, record)
        except MemoryError:
            raise  # says nothing about the record: the loop ends, and leaves it unsettled
        except Exception as error:  # noqa: BLE001 - the record's failure, judged by the engine
            return failure_of(error, message, record)
        return None

    async def _through_batches(self, run: Run) -> Failure | None:
        """The same for handlers of batches."""
        while run.done < len(run.records) and not run.halted:
            batch, failure = gather(self.session.recipe, run)
            if failure is not None:
                return failure
            if batch.end == run.done:  # a tombstone that has a handler of its own
                failure = await self._handle(run, run.done + 1)
            elif batch.messages:
                failure = await self._handle_batch(run, batch)
            if failure is not None:
                return failure
            settle_batch(run, batch, batch.end, time.monotonic())
            await asyncio.sleep(0)
        return None

    async def _handle_batch(self, run: Run, batch: Batch) -> Failure | None:
        recipe, context = self.session.recipe, self._context.copy()
        try:
            result = recipe.call(context, batch.messages, batch, run)
            if result is not None:
                await completed(result, context, recipe.attempt_timeout)
        except asyncio.CancelledError as error:
            failure = cancelled_from_within("handler", error)
            return batch_failure(run, batch, failure, time.monotonic())
        except MemoryError:
            raise  # as in _handle
        except Exception as error:  # noqa: BLE001 - judged by the engine
            return batch_failure(run, batch, error, time.monotonic())
        return None

    async def run_blocking(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of ours in a thread."""
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


async def _finish(step: asyncio.Future[Any], session: Session) -> None:
    """Await a step of the way out to its end, whatever happens meanwhile.

    A first cancellation asks the loop to stop, a second one means now; both are raised at the
    end. An error of the step itself ends the loop.
    """
    while not step.done():
        try:
            await asyncio.shield(step)
        except asyncio.CancelledError as error:
            session.cancel(error)
        except GeneratorExit:
            raise  # the event loop was closed: nothing can be awaited any more
        except BaseException as error:  # noqa: BLE001 - raised by run()
            session.fail(error)


async def _call(hook: Callable[[], Any] | None, session: Session) -> None:
    if hook is None:
        return
    try:
        result = hook()
        if inspect.isawaitable(result):
            await result
    except (SystemExit, KeyboardInterrupt) as error:
        session.fail(error)  # as in _work; run() raises it
