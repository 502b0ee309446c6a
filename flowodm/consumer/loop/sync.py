"""ConsumerLoop: plain functions as handlers, in the calling thread or in a few threads."""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Unpack

from flowodm.blocking import run_synchronously
from flowodm.consumer.handling.batch import batch_failure, gather, settle_batch
from flowodm.consumer.handling.calls import failure_of
from flowodm.consumer.loop.lifecycle import Loop
from flowodm.consumer.loop.signals import stop_on_signals
from flowodm.consumer.options.arguments import make_options, refuse_what_only_async_can
from flowodm.events import LoopState, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import Batch, Failure
    from flowodm.consumer.handling.context import Handler
    from flowodm.consumer.loop.session import Session
    from flowodm.consumer.options.arguments import SyncOptions
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings

#: Results that stand for work which has not been done.
UNFINISHED = (CoroutineType, GeneratorType, AsyncGeneratorType)

#: Seconds that handler threads get to end after the drain; those that do not are daemons.
THREAD_END = 1.0


class ConsumerLoop(Loop):
    """Consumes a model's topic and calls a handler for every message, until it is stopped.

    The handler runs in the thread that calls :meth:`run`; with ``max_concurrent`` above 1 in so
    many threads. Polling goes on in a thread of its own, so neither a slow handler nor the wait
    before a retry costs the group membership.

    Args:
        model: The model of the messages; its inner Settings name topic and group.
        handler: Called with one message. What it raises is a failure of that message.
        settings: The profile; LongRunningSettings() by default.
        group_id: The consumer group, instead of the model's.
        error_handler: Called with (error, raw Kafka message, message or None) after the last
            attempt. Its return settles the message; if it raises, the loop stops.
        on_startup: Called before the group is joined.
        on_shutdown: Called after the last commit, before the consumer is closed; also if
            ``on_startup`` raised.
        commit_strategy: "before_processing" (at most once: the commit is confirmed before the
            handler starts) or "after_processing" (at least once).
        max_retries: Further attempts after a failed one.
        retry_delay: Seconds between attempts. Other partitions go on meanwhile.
        poll_timeout: The most seconds of one poll; a stop is seen within 0.1 s anyway.
        more: Every further option by its name; `flowodm.consumer.options.arguments.SyncOptions`
            describes them. ``max_concurrent`` is 1 and ``ordering`` is "partition" by default.

    Raises:
        ValueError: A choice does not exist, or a number is out of its range.
        ConfigurationError: A function is a coroutine function, or does not take what it will
            get; or an option needs AsyncConsumerLoop.
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
        commit_strategy: str = "before_processing",
        max_retries: int = 0,
        retry_delay: float = 1.0,
        poll_timeout: float = 1.0,
        **more: Unpack[SyncOptions],
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
                defaults={"max_concurrent": 1, "ordering": "partition"},
                more=more,
            )
        )
        refuse_what_only_async_can(self.options)
        self._hand: _Hand | None = None
        self._in_hook = False

    def __call__(self) -> None:
        """The same as :meth:`run`: a decorated handler starts its loop when it is called."""
        self.run()

    def run(self) -> None:
        """Consume until stop(), SIGTERM or SIGINT, or until something cannot be mended.

        Raises:
            RecordError: A message failed for good and ``on_failure`` is "stop", or the error
                handler raised.
            FencedError: Another member uses the same ``group_instance_id``.
            ConsumerError: Kafka's client cannot go on, or the last commit failed.
            ConfigurationError: Topic, group or connection are not configured.
            Exception: What a hook raised. Everything else is still done first.
        """
        with self._session_of_a_run() as session:
            with stop_on_signals(self._on_signal, enabled=self.options.handle_signals):
                try:
                    session.dispatch.enter_state(LoopState.STARTING)
                    self._call_hook(self.options.on_startup)
                    session.start()
                    self._work(session)
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

    def _work(self, session: Session) -> None:
        hands = [_Hand(session) for _ in range(self.options.max_concurrent)]
        if len(hands) == 1:
            self._hand = hands[0]
            hands[0].work()
            return
        threads = []
        for number, hand in enumerate(hands):
            context = contextvars.copy_context()
            target = context.run
            name = f"flowodm-handler-{number}"
            threads.append(
                threading.Thread(target=target, args=(hand.work,), name=name, daemon=True)
            )
            threads[-1].start()
        session.wait_until_drained()
        deadline = time.monotonic() + THREAD_END
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _call_hook(self, hook: Callable[[], Any] | None) -> None:
        self._in_hook = True
        try:
            if hook is not None:
                _refuse_unfinished(hook())
        finally:
            self._in_hook = False

    def _on_signal(self, signum: int) -> None:
        super()._on_signal(signum)
        busy = self._in_hook or (self._hand is not None and self._hand.busy)
        if self._signals > 1 and busy:
            # The user's code runs in this thread: only an exception gets it out of there. Where it
            # has just begun a blocking call, CPython runs this after that, or at the next signal.
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)


class _Hand:
    """Takes runs and works them off, one record after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dispatch = session.dispatch
        self._recipe = session.recipe
        self._next = self._handle_batches if session.recipe.batches else self._handle
        self.busy = False

    def work(self) -> None:
        """Until the loop is over; what escapes from the user's code ends it."""
        while True:
            try:
                run = self._dispatch.take()
                if run is None:
                    return
                self._work_off(run)
            except BaseException as error:  # noqa: BLE001 - raised by run()
                # This hand goes on: what is committed before processing has nobody else.
                self._session.fail(error)

    def _work_off(self, run: Run) -> None:
        try:
            while (failure := self._next(run)) is not None:
                if not self._recover(run, failure):
                    return
        except BaseException:  # sys.exit(), Ctrl-C: the record is not settled
            self._dispatch.left(run)
            raise
        self._dispatch.finished(run)

    def _recover(self, run: Run, failure: Failure) -> bool:
        """Do in this thread what follows a failure; returns whether the run goes on."""
        recipe = self._recipe
        return run_synchronously(recipe.recover(recipe, self._dispatch, self, run, failure))

    async def run_blocking(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of ours."""
        function(*args)

    async def run_user_code(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of the user, in a context of its own."""
        self.busy = True
        try:
            result = contextvars.copy_context().run(function, *args)
        finally:
            self.busy = False
        _refuse_unfinished(result)

    def _handle(self, run: Run, end: int | None = None) -> Failure | None:
        """The hot path: what every record costs stands in this loop."""
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
                        _refuse_unfinished(result)
                elif tombstone is not None:
                    _refuse_unfinished(tombstone(new_context(), None, record, run))
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

    def _handle_batches(self, run: Run) -> Failure | None:
        """The same for handlers of batches."""
        while run.done < len(run.records) and not run.halted:
            batch, failure = gather(self._recipe, run)
            if failure is not None:
                return failure
            if batch.end == run.done:  # a tombstone that has a handler of its own
                failure = self._handle(run, run.done + 1)
            elif batch.messages:
                failure = self._handle_batch(run, batch)
            if failure is not None:
                return failure
            settle_batch(run, batch, batch.end, time.monotonic())
        return None

    def _handle_batch(self, run: Run, batch: Batch) -> Failure | None:
        self.busy = True
        try:
            context = contextvars.copy_context()
            _refuse_unfinished(self._recipe.call(context, batch.messages, batch, run))
        except MemoryError:
            raise  # as in _handle
        except Exception as error:  # noqa: BLE001 - judged by the engine
            return batch_failure(run, batch, error, time.monotonic())
        finally:
            self.busy = False
        return None


def _refuse_unfinished(result: object) -> None:
    """What a handler returns means nothing, unless it is work that nobody would do."""
    if isinstance(result, UNFINISHED):
        if isinstance(result, CoroutineType):
            result.close()
        raise TypeError(
            f"it returned a {type(result).__name__}, whose body has not run: only "
            "AsyncConsumerLoop awaits coroutines, and nobody runs generators"
        )
