"""One run of a loop, from its startup hook to its closed consumer; the same for both loops."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flowodm.connection import get_kafka_connection
from flowodm.consumer.dead_letters.topic import DeadLetterTopic
from flowodm.consumer.dispatch import Dispatch
from flowodm.consumer.engine.engine import Engine
from flowodm.consumer.handling.calls import acceptor, batch_caller, caller, tombstone_caller
from flowodm.consumer.handling.context import MessageContext
from flowodm.consumer.handling.recipe import Recipe
from flowodm.consumer.handling.recovery import recover
from flowodm.consumer.kafka.poller import Poller
from flowodm.consumer.loop.log import LogObserver
from flowodm.events import Ended, EndReason, LoopState
from flowodm.exceptions import ConsumerError, summary
from flowodm.serialization.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.options.options import Options
    from flowodm.consumer.stop import StopSwitch

_log = logging.getLogger("flowodm.consumer")

MOST_ERRORS = 10
"""The most errors of one run that are kept; the observers are told of all failures."""


class Session:
    """One run: its engine, its poller and its errors.

    Args:
        options: The loop's options.
        switch: Asks the run to stop.
        wake: See :class:`Dispatch`.
        before_join: See :class:`flowodm.consumer.loop.lifecycle.Loop`.

    Attributes:
        switch: Asks the run to stop.
        dispatch: The engine behind its lock.
        poller: The thread that owns the consumer.
        recipe: What is done with a record.

    Raises:
        ConfigurationError: The topic, the group or the connection is not configured.
        SchemaValidationError: The model has no Avro schema.
    """

    def __init__(
        self,
        options: Options,
        switch: StopSwitch,
        wake: Callable[[], None] | None = None,
        *,
        before_join: Callable[[], None] | None = None,
    ) -> None:
        self.switch = switch
        self._errors: list[BaseException] = []
        self._started = False
        self._cancelled = False
        self._source = source = options.source()
        engine = Engine(options.rules(source), source.poll_timeout)
        self.dispatch = Dispatch(engine, [LogObserver(options.group), *options.observers], wake)
        self._dead_letters: DeadLetterTopic | None = None
        if options.dead_letter_topic is not None:
            self._dead_letters = DeadLetterTopic(
                options.dead_letter_topic, options.group, lambda: switch.deadline
            )
        self.poller = Poller(source, self.dispatch, switch, prepare=self._check_dead_letters)
        self.poller.before_join = before_join
        self.recipe = self._make_recipe(options)
        if (tracing := get_kafka_connection().tracing) is not None:
            from flowodm.consumer.handling.tracing import traced  # noqa: PLC0415 - OpenTelemetry is an extra

            self.recipe = traced(self.recipe, tracing, options.group, awaits=wake is not None)

    def _check_dead_letters(self) -> None:
        """Check the dead-letter topic before the group is joined; in the poller's thread."""
        if self._dead_letters is not None:
            self._dead_letters.check(self._source.topic)

    def _make_recipe(self, options: Options) -> Recipe:
        codec = codec_for(options.model)
        switch, framed = self.switch, codec.framed

        def make_context(record: Message, run: Run) -> MessageContext:
            return MessageContext(record, run, switch, attempt=run.attempt, framed=framed)

        make_caller = caller if options.batch_size is None else batch_caller
        tombstone, header_filter = options.tombstone_handler, options.header_filter
        return Recipe(
            decode=codec.decode,
            load_schema=codec.load_schema,
            call=make_caller(options.handler, make_context),
            give_up=self.fail,
            recover=recover,
            accepts=None if header_filter is None else acceptor(header_filter),
            tombstone=None if tombstone is None else tombstone_caller(tombstone, make_context),
            error_handler=options.error_handler,
            dead_letter=None if self._dead_letters is None else self._dead_letters.send,
            dead_letter_topic=options.dead_letter_topic or "",
            attempt_timeout=options.attempt_timeout,
            batches=options.batch_size is not None,
        )

    def fail(self, error: BaseException) -> None:
        """End the run because of an error; run() raises the first one."""
        if len(self._errors) < MOST_ERRORS:
            self._errors.append(error)
        self.switch.press(reason=EndReason.ERROR)
        if self._started:
            with self.dispatch as engine:
                engine.stop()  # at once: the poller looks at the switch every 0.1 s only
        else:
            self.dispatch.close()

    def stop(self, *, now: bool = False) -> None:
        """Ask this run to stop; from any thread.

        Args:
            now: Do not wait for handlers any longer.
        """
        self.switch.press(now=now)

    def ask_group(self) -> None:
        """Ask the group at once for its changes; from any thread."""
        self.poller.ask_group()

    def start(self) -> None:
        """Join the group, unless the run was asked to stop while it started."""
        if not self.switch.pressed:
            self.dispatch.enter_state(LoopState.RUNNING)
            self.poller.start()
            self._started = True
        else:
            self.dispatch.close()

    def cancel(self, error: BaseException) -> None:
        """Stop because the task of run() was cancelled; the second time stop now."""
        self.switch.press(now=self._cancelled, reason=EndReason.CANCELLED)
        if not self._cancelled:
            self._cancelled = True
            self._errors.append(error)
        if not self._started:
            self.dispatch.close()  # no poller runs that would

    def wait_until_drained(self) -> None:
        """Wait until the handlers have finished, at most until the drain deadline."""
        while self._started and not self.poller.drained.wait(1.0):
            pass

    def close(self) -> None:
        """Let the consumer leave its group and close, and wait for it with a time-out."""
        self.poller.release()
        if not self.poller.join():
            self._errors.append(ConsumerError("the consumer did not close in time"))
        if self.poller.error is not None:
            self._errors.append(self.poller.error)
        self.dispatch.enter_state(LoopState.STOPPED)
        self.dispatch.tell(self.dispatch.status())

    def raise_first_error(self) -> None:
        """Tell the observers how the run ended, and raise the error that ended it."""
        for later in self._errors[1:]:
            _log.error("after the first error: %s", summary(later), exc_info=later)
        error = self._errors[0] if self._errors else None
        self.dispatch.tell(Ended(self.switch.reason, error, self.poller.drain_seconds))
        if error is not None:
            raise error
