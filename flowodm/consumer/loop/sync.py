"""ConsumerLoop: plain functions as handlers, in the calling thread or in a few threads."""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Unpack

from flowodm.consumer.loop.handler_thread import HandlerThread, refuse_unfinished
from flowodm.consumer.loop.lifecycle import Loop
from flowodm.consumer.loop.signals import stop_on_signals
from flowodm.consumer.options.arguments import make_options
from flowodm.consumer.options.help import lists_options
from flowodm.events import LoopState

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from flowodm.consumer.handling.context import Handler
    from flowodm.consumer.loop.session import Session
    from flowodm.consumer.options.keywords import SyncOptions
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings

THREAD_END = 1.0
"""Seconds that handler threads get to end after the drain; they are daemons, if they do not."""


@lists_options()
class ConsumerLoop(Loop):
    """Consumes a model's topic and calls a handler for every message, until it is stopped.

    The handler runs in the thread that calls :meth:`run`; with ``max_concurrent`` above 1 in so
    many threads. Polling goes on in a thread of its own, so neither a slow handler nor the wait
    before a retry costs the group membership.

    Raises:
        TypeError: There is no such option, or a value is of a wrong type.
        ValueError: A choice does not exist, or a number is out of its range.
        ConfigurationError: A function is a coroutine function, or does not take what it will
            get; or an option needs AsyncConsumerLoop.
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
        commit_strategy: str = "before_processing",
        max_retries: int = 0,
        retry_delay: float = 1.0,
        poll_timeout: float = 1.0,
        **more: Unpack[SyncOptions],
    ) -> None:
        super().__init__(
            make_options(
                more,
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
            )
        )
        self._handler_thread: HandlerThread | None = None
        self._in_hook = False

    def __call__(self) -> None:
        """Do the same as :meth:`run`: a decorated handler starts its loop when it is called."""
        self.run()

    def run(self) -> None:
        """Consume until stop(), SIGTERM, SIGINT or an error that ends the loop.

        Raises:
            RecordError: A message failed for good and ``on_failure`` is "stop", or the error
                handler raised.
            FencedError: Another member uses the same ``group_instance_id``.
            ConsumerError: Kafka's client cannot go on, or the last commit failed.
            ConfigurationError: Topic, group or connection are not configured.
            Exception: What a hook raised. Everything else is still done first.
        """
        with self._new_session() as session:
            with stop_on_signals(
                self._on_signal, self._switch, enabled=self.options.handle_signals
            ):
                try:
                    session.dispatch.enter_state(LoopState.STARTING)
                    self._call_hook(self.options.on_startup)
                    session.start()
                    self._handle(session)
                except BaseException as error:  # noqa: BLE001 - raised again at the end
                    session.fail(error)
                session.wait_until_drained()
                session.dispatch.enter_state(LoopState.DRAINING)  # also if it never ran
                try:
                    self._call_hook(self.options.on_shutdown)
                except BaseException as error:  # noqa: BLE001 - as above
                    session.fail(error)
                session.close()
            session.raise_first_error()

    def _handle(self, session: Session) -> None:
        """Handle records until the run is over, in this thread or in ``max_concurrent`` others."""
        if self.options.max_concurrent == 1:
            self._handler_thread = HandlerThread(session)
            self._handler_thread.work()
            return
        threads = []
        for number in range(self.options.max_concurrent):
            context, work = contextvars.copy_context(), HandlerThread(session).work
            name = f"flowodm-handler-{number}"
            thread = threading.Thread(target=context.run, args=(work,), name=name, daemon=True)
            thread.start()
            threads.append(thread)
        session.wait_until_drained()
        deadline = time.monotonic() + THREAD_END
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _call_hook(self, hook: Callable[[], Any] | None) -> None:
        self._in_hook = True
        try:
            if hook is not None:
                refuse_unfinished(hook())
        finally:
            self._in_hook = False

    def _on_signal(self, signum: int) -> None:
        super()._on_signal(signum)
        if self._signals > 1 and self._in_user_code():
            # The user's code runs in this thread: only an exception interrupts it. If it has just
            # begun a blocking call, CPython calls this after that call, or at the next signal.
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)

    def _in_user_code(self) -> bool:
        thread = self._handler_thread
        return self._in_hook or (thread is not None and thread.busy)
