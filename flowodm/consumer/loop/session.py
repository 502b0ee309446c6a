"""One run of a loop, from the startup hook to the closed consumer: what both loops share."""

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
from flowodm.consumer.loop.log import Journal
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

#: How many errors of one run are kept; what else failed while it ended is told as events.
MOST_ERRORS = 10


class Session:
    """The engine, the poller and the first error of one run.

    Args:
        options: What the loop was told.
        switch: How it is asked to stop.
        wake: See :class:`Dispatch`.

    Raises:
        ConfigurationError: The topic, the group or the connection is not configured.
        SchemaValidationError: The model has no Avro schema.
    """

    def __init__(
        self, options: Options, switch: StopSwitch, wake: Callable[[], None] | None = None
    ) -> None:
        self.switch = switch
        self._errors: list[BaseException] = []
        self._started = False
        self._cancelled = False
        journal = Journal(options.group)
        self._source = source = options.source()
        engine = Engine(options.rules(source), source.poll_timeout)
        self.dispatch = Dispatch(engine, [journal, *options.observers], wake)
        self._letters: DeadLetterTopic | None = None
        if options.dead_letter_topic is not None:
            self._letters = DeadLetterTopic(
                options.dead_letter_topic, options.group, lambda: switch.deadline
            )
        self.poller = Poller(source, self.dispatch, switch, self._prepare)
        self.recipe = self._recipe(options)
        if (tracing := get_kafka_connection().tracing) is not None:
            from flowodm.consumer.handling.tracing import traced  # noqa: PLC0415 - OpenTelemetry is an extra

            self.recipe = traced(self.recipe, tracing, options.group, awaits=wake is not None)

    def _prepare(self) -> None:
        """What may block and has to be right before the group is joined; in the poller's thread."""
        if self._letters is not None:
            self._letters.check(self._source.topic)

    def _recipe(self, options: Options) -> Recipe:
        codec = codec_for(options.model)
        switch, framed = self.switch, codec.framed

        def context(record: Message, run: Run) -> MessageContext:
            return MessageContext(record, run, switch, run.attempt, framed=framed)

        call = caller if options.batch_size is None else batch_caller
        tombstone, header_filter = options.tombstone_handler, options.header_filter
        return Recipe(
            decode=codec.decode,
            load_schema=codec.load_schema,
            call=call(options.handler, context),
            give_up=self.fail,
            recover=recover,
            accepts=None if header_filter is None else acceptor(header_filter),
            tombstone=None if tombstone is None else tombstone_caller(tombstone, context),
            error_handler=options.error_handler,
            dead_letter=None if self._letters is None else self._letters.send,
            dead_letter_topic=options.dead_letter_topic or "",
            attempt_timeout=options.attempt_timeout,
            batches=options.batch_size is not None,
        )

    def fail(self, error: BaseException) -> None:
        """Something went wrong: the loop ends, and run() raises the first such error."""
        if len(self._errors) < MOST_ERRORS:  # what fails while it ends is told as events, too
            self._errors.append(error)
        self.switch.press(reason=EndReason.ERROR)
        if self._started:
            with self.dispatch as engine:
                engine.stop()  # at once: the poller sees the switch up to 0.1 s later
        else:
            self.dispatch.close()

    def start(self) -> None:
        """Join the group, unless the loop was asked to stop while it started."""
        if not self.switch.pressed:
            self.dispatch.enter_state(LoopState.RUNNING)
            self.poller.start()
            self._started = True
        else:
            self.dispatch.close()

    def cancel(self, error: BaseException) -> None:
        """The task that runs the loop was cancelled: stop, or the second time stop now."""
        self.switch.press(now=self._cancelled, reason=EndReason.CANCELLED)
        if not self._cancelled:
            self._cancelled = True
            self._errors.append(error)
        if not self._started:
            self.dispatch.close()  # there is no poller that would

    def wait_until_drained(self) -> None:
        """Until the poller has seen the stop and the handlers are done; bounded by the switch."""
        while self._started and not self.poller.drained.wait(1.0):
            pass

    def close(self) -> None:
        """The hooks have run: let the consumer leave, and wait for that, bounded."""
        self.poller.release()
        if not self.poller.join():
            self._errors.append(ConsumerError("the consumer did not close in time"))
        if self.poller.error is not None:
            self._errors.append(self.poller.error)
        self.dispatch.enter_state(LoopState.STOPPED)
        self.dispatch.tell(self.dispatch.status())

    def raise_first_error(self) -> None:
        """Say how the run ended, and raise what ended it, if something did."""
        for later in self._errors[1:]:
            _log.error("after the first error: %s", summary(later), exc_info=later)
        error = self._errors[0] if self._errors else None
        self.dispatch.tell(Ended(self.switch.reason, error, self.poller.drain_seconds))
        if error is not None:
            raise error
