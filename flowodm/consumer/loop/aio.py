"""AsyncConsumerLoop: coroutine functions as handlers, many at a time on one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from typing import TYPE_CHECKING, Any, Unpack

from flowodm.consumer.loop.coroutines import in_thread
from flowodm.consumer.loop.handler_tasks import HandlerTasks
from flowodm.consumer.loop.lifecycle import Loop
from flowodm.consumer.loop.signals import stop_on_signals
from flowodm.consumer.loop.watchdog import Watchdog
from flowodm.consumer.options.arguments import make_options
from flowodm.consumer.options.help import lists_options
from flowodm.events import LoopState

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from flowodm.consumer.handling.context import Handler
    from flowodm.consumer.loop.session import Session
    from flowodm.consumer.options.keywords import MoreOptions
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings


@lists_options(for_async=True)
class AsyncConsumerLoop(Loop):
    """ConsumerLoop for coroutine functions: up to ``max_concurrent`` handlers at a time.

    Handlers and hooks may be coroutine functions or plain ones; all of them run on the event loop
    that awaits :meth:`run`. Handlers that run past ``drain_timeout`` after a stop are cancelled.

    Raises:
        TypeError: There is no such option, or a value is of a wrong type.
        ValueError: A choice does not exist, or a number is out of its range.
        ConfigurationError: A function does not take what it will get.
        SettingsError: ``consumer_config`` sets a property that belongs to the loop.
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
                more,
                for_async=True,
                model=model,
                handler=handler,
                settings=settings,
                group_id=group_id,
                error_handler=error_handler,
                on_startup=on_startup,
                on_shutdown=on_shutdown,
                max_concurrent=max_concurrent,
                commit_strategy=commit_strategy,
                max_retries=max_retries,
                retry_delay=retry_delay,
                poll_timeout=poll_timeout,
            )
        )
        self._hook: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()

    async def __call__(self) -> None:
        """Do the same as :meth:`run`: a decorated handler starts its loop when it is awaited."""
        await self.run()

    async def run(self) -> None:
        """Consume until stop(), SIGTERM, SIGINT or cancellation.

        A cancelled run() drains before it ends; cancelled a second time it no longer waits for
        its handlers. A second signal cancels handlers and hooks.

        Raises:
            RecordError, FencedError, ConsumerError, ConfigurationError: As ConsumerLoop.run().
            asyncio.CancelledError: run() was cancelled, or a second signal cancelled a hook.
        """
        # Hooks and handlers see what the caller's and the startup hook's context variables hold.
        self._context = contextvars.copy_context()
        tasks = HandlerTasks(self.options.max_concurrent, self._context)
        with self._new_session(tasks.wake) as session:
            tasks.session = session
            watchdog = Watchdog(asyncio.get_running_loop(), session.dispatch.tell)
            signals = stop_on_signals(
                self._on_signal, self._switch, enabled=self.options.handle_signals
            )
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
                await _finish(tasks.over, session)
                await _finish(asyncio.ensure_future(tasks.cancel()), session)
                session.dispatch.enter_state(LoopState.DRAINING)  # also if it never ran
                await _finish(self._start_hook(self.options.on_shutdown, session), session)
                await _finish(asyncio.ensure_future(in_thread(session.close)), session)
            session.raise_first_error()

    def _start_hook(self, hook: Callable[[], Any] | None, session: Session) -> asyncio.Task[None]:
        event_loop = asyncio.get_running_loop()
        self._hook = event_loop.create_task(_call_hook(hook, session), context=self._context)
        return self._hook

    def cancel_hook(self) -> None:
        """Cancel the hook that is running; from any thread."""
        if self._hook is not None:
            self._hook.get_loop().call_soon_threadsafe(self._hook.cancel)

    def _on_signal(self, signum: int) -> None:
        super()._on_signal(signum)
        if self._signals > 1:
            self.cancel_hook()  # handlers are cancelled at the drain deadline, hooks only here


async def _finish(step: asyncio.Future[Any], session: Session) -> None:
    """Await a step of a run's end, even if the task is cancelled meanwhile.

    The first cancellation asks the run to stop, the second one to stop now; run() raises it at the
    end. An error of the step itself ends the run.
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


async def _call_hook(hook: Callable[[], Any] | None, session: Session) -> None:
    if hook is None:
        return
    try:
        result = hook()
        if inspect.isawaitable(result):
            await result
    except (SystemExit, KeyboardInterrupt) as error:
        session.fail(error)  # out of the task it would end the event loop; run() raises it
