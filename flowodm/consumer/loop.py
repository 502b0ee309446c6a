"""ConsumerLoop: plain functions as handlers, in the calling thread or in a few threads."""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, assert_never

from flowodm.consumer.handling import Blocking, UserCode, recover
from flowodm.consumer.options import describe, is_async
from flowodm.consumer.shell import Loop, make_options
from flowodm.consumer.signals import stop_on_signals
from flowodm.events import LoopState, Outcome
from flowodm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Message

    from flowodm.consumer.ordering import Run
    from flowodm.consumer.session import Session
    from flowodm.events import Observer
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
        max_concurrent: Handlers that run at the same time.
        ordering: "partition" (default): the messages of a partition one after the other;
            "key": those of a key; "unordered".
        on_failure: Without an error handler, "skip" a message that failed for good (logged at
            error, counted) or "stop": run() raises RecordError and its offset is not
            committed. Default: "stop" for after_processing, "skip" for before_processing.
        commit_interval: Seconds between commits (after_processing). An idle loop, a revoked
            partition and the end commit at once.
        commit_ahead: Seconds of work that may be committed before it starts
            (before_processing), which is what a crash may lose; 0: one message at a time.
        drain_timeout: Seconds that running handlers get to finish after stop() or a revoke.
        partitions: Exactly these partition numbers, without group membership; offsets are
            still committed in the group's name. None: the group decides.
        group_instance_id: Static membership (KIP-345): ``group.instance.id``.
        consumer_config: Further librdkafka properties.
        observers: Called with every event; see :mod:`flowodm.events`.
        handle_signals: Whether run(), in the main thread, stops on SIGTERM and SIGINT.

    Raises:
        ValueError: A choice does not exist, or a number is out of its range.
        ConfigurationError: The handler is a coroutine function.
        SettingsError: ``consumer_config`` sets what belongs to the loop.
    """

    def __init__(
        self,
        model: type[FlowBaseModel],
        handler: Callable[[Any], Any],
        settings: BaseSettings | None = None,
        group_id: str | None = None,
        error_handler: Callable[[Exception, Message, Any], Any] | None = None,
        on_startup: Callable[[], Any] | None = None,
        on_shutdown: Callable[[], Any] | None = None,
        commit_strategy: str = "before_processing",
        max_retries: int = 0,
        retry_delay: float = 1.0,
        poll_timeout: float = 1.0,
        *,
        max_concurrent: int = 1,
        ordering: str | None = None,
        on_failure: str | None = None,
        commit_interval: float = 1.0,
        commit_ahead: float = 0.1,
        drain_timeout: float = 30.0,
        partitions: Iterable[int] | None = None,
        group_instance_id: str | None = None,
        consumer_config: dict[str, Any] | None = None,
        observers: Sequence[Observer] = (),
        handle_signals: bool = True,
    ) -> None:
        _refuse_coroutines(handler, error_handler, on_startup, on_shutdown)
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
                max_concurrent=max_concurrent,
                ordering=ordering or "partition",
                on_failure=on_failure,
                commit_interval=commit_interval,
                commit_ahead=commit_ahead,
                drain_timeout=drain_timeout,
                partitions=partitions,
                group_instance_id=group_instance_id,
                consumer_config=consumer_config,
                observers=observers,
                handle_signals=handle_signals,
            )
        )
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
            # The user's code runs in this thread: only an exception gets it out of there.
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)


class _Hand:
    """Takes runs and works them off, one record after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dispatch = session.dispatch
        self._recipe = session.recipe
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
            while (failure := self._handle(run)) is not None:
                if not self._recover(run, *failure):
                    return
        except BaseException:  # sys.exit(), Ctrl-C: the record is not settled
            self._dispatch.left(run)
            raise
        self._dispatch.finished(run)

    def _recover(self, run: Run, error: Exception, message: object | None) -> bool:
        """Call what follows a failure, with this thread; returns whether the run goes on."""
        steps = recover(self._recipe, self._dispatch, run, error, message)
        try:
            step = next(steps)
            while True:
                try:
                    match step:
                        case Blocking(call):
                            result = call()
                        case UserCode(call):
                            result = self._call(call)
                        case _:
                            assert_never(step)
                except Exception as failure:  # noqa: BLE001 - thrown into the steps
                    step = steps.throw(failure)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return bool(end.value)

    def _call(self, call: Callable[[], Any]) -> Any:
        self.busy = True
        try:
            result = call()
        finally:
            self.busy = False
        _refuse_unfinished(result)
        return result

    def _handle(self, run: Run) -> tuple[Exception, object | None] | None:
        """The hot path: what every record costs stands in this loop."""
        decode, handler = self._recipe.decode, self._recipe.handler
        tick, clock = run.ticks.append, time.monotonic
        message = None
        self.busy = True
        try:
            for record in run.records[run.done :]:
                if run.halted:
                    break
                value = record.value()
                message = None
                if value is None:
                    run.outcomes[run.done] = Outcome.TOMBSTONE
                else:
                    message = decode(value)
                    result = handler(message)
                    if result is not None:
                        _refuse_unfinished(result)
                tick(clock())
                run.done += 1
        except Exception as error:  # noqa: BLE001 - the record's failure, judged by the engine
            return error, message
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


def _refuse_coroutines(*functions: Callable[..., Any] | None) -> None:
    for function in functions:
        if function is not None and is_async(function):
            raise ConfigurationError(f"{describe(function)} is async: use AsyncConsumerLoop for it")
