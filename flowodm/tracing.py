"""Distributed tracing with OpenTelemetry, for those who pass ``connect(tracing=Tracing())``.

Nothing of flowodm imports this module by itself, as OpenTelemetry's API is an extra. The names of
spans and attributes are those of its semantic conventions for messaging, 1.30 to 1.44. The SDK,
its exporters and its propagators are the program's choice.

What OpenTelemetry raises is logged and goes no further: a record does not fail for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka

from flowodm.exceptions import ConfigurationError

try:
    from opentelemetry import context as contexts
    from opentelemetry import propagate, trace
    from opentelemetry.trace import Span, SpanKind, StatusCode
except ImportError as error:
    raise ConfigurationError(
        'tracing needs the API of OpenTelemetry: pip install "flowodm-supervisor[opentelemetry]"'
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import KafkaError, Message
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer, TracerProvider

SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
GROUP: Final = "messaging.consumer.group.name"
OFFSET: Final = "messaging.kafka.offset"
KEY: Final = "messaging.kafka.message.key"
TOMBSTONE: Final = "messaging.kafka.message.tombstone"
COUNT: Final = "messaging.batch.message_count"
ERROR_TYPE: Final = "error.type"
#: Ours: the number of the attempt from 1, what became of it, and where it failed.
ATTEMPT: Final = "flowodm.attempt"
OUTCOME: Final = "flowodm.outcome"
STAGE: Final = "flowodm.stage"

#: Seconds for which further errors of OpenTelemetry are not logged.
COMPLAIN_EVERY = 30.0

#: The positional arguments of ``Producer.produce`` behind topic, value and key.
_ARGUMENTS = ("partition", "callback", "on_delivery", "timestamp", "headers")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tracing:
    """Switches tracing on, as an argument of :func:`flowodm.connection.connect`.

    Attributes:
        tracer_provider: Whose spans these are; by default the global one, also if it is set later.
        record_keys: Spans carry the records' keys, where these are UTF-8. They may be personal
            data, so it is off by default.
    """

    tracer_provider: TracerProvider | None = None
    record_keys: bool = False

    def tracer(self) -> Tracer:
        """What makes the spans."""
        return trace.get_tracer("flowodm", tracer_provider=self.tracer_provider)

    def key_of(self, key: Any) -> dict[str, str]:
        """The attribute of a record's key, if there is to be one."""
        if not self.record_keys or key is None:
            return {}
        try:
            return {KEY: key if isinstance(key, str) else bytes(key).decode()}
        except (TypeError, ValueError):  # it has no form in text that is its own
            return {}

    def producers(self, make: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        """What makes producers that inject the context into records and trace them.

        Args:
            make: What makes them otherwise.
        """
        spans = SendSpans(self)
        if make is confluent_kafka.Producer:
            return partial(TracedProducer, spans=spans)

        def made(config: dict[str, Any]) -> Any:
            producer = make(config)
            producer.produce = partial(spans.send, producer.produce)
            return producer

        return made


class TracedProducer(confluent_kafka.Producer):
    """Kafka's producer with a span for each record.

    Args:
        config: librdkafka's configuration.
        spans: What makes them.
    """

    def __init__(self, config: dict[str, Any], spans: SendSpans) -> None:
        super().__init__(config)
        self._spans = spans

    def produce(self, *args: Any, **options: Any) -> None:
        """See confluent_kafka.Producer.produce."""
        self._spans.send(super().produce, *args, **options)


class SendSpans:
    """Makes the spans of what is sent, and puts their context into the records' headers.

    Args:
        tracing: What was switched on.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._tracer = tracing.tracer()
        self._complain = Complaint()

    def send(
        self,
        produce: Callable[..., None],
        topic: str,
        value: Any = None,
        key: Any = None,
        *more: Any,
        **options: Any,
    ) -> None:
        """Send a record; its span ends when the broker has answered.

        Args:
            produce: Hands it to librdkafka.
            topic: Where to.
            value: Its value.
            key: Its key.
            more: What else ``Producer.produce`` takes, by position.
            options: The same by name.
        """
        options.update(zip(_ARGUMENTS, more, strict=False))
        try:
            span, headers = self._begin(topic, value, key, options)
        except Exception as error:  # noqa: BLE001 - OpenTelemetry's, or produce() says it better
            self._complain.about(error)
            produce(topic, value=value, key=key, **options)
            return
        said = (options.pop("callback", None), options.pop("on_delivery", None))
        report = next((call for call in said if call is not None), None)
        options["headers"] = headers
        options["on_delivery"] = partial(self._reported, span, report)
        try:
            produce(topic, value=value, key=key, **options)
        except BufferError:
            raise  # it is tried again, with a span that ends; this one is forgotten
        except Exception as error:
            self._end(span, type(error).__qualname__, str(error))
            raise

    def _begin(
        self, topic: str, value: Any, key: Any, options: dict[str, Any]
    ) -> tuple[Span, list[tuple[str, Any]]]:
        given = options.get("headers") or ()
        headers = list(given.items() if isinstance(given, Mapping) else given)
        parent = contexts.get_current()
        if headers and not trace.get_current_span(parent).get_span_context().is_valid:
            parent = context_of(headers, parent)  # one that is passed on, such as a replayed one
        attributes: dict[str, str | bool] = {
            SYSTEM: "kafka",
            OPERATION: "send",
            OPERATION_TYPE: "send",
            DESTINATION: topic,
            **self._tracing.key_of(key),
        }
        if value is None:
            attributes[TOMBSTONE] = True
        span = self._tracer.start_span(
            f"send {topic}", parent, kind=SpanKind.PRODUCER, attributes=attributes
        )
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span, parent))
        names = propagate.get_global_textmap().fields
        kept = [header for header in headers if header[0] not in names]
        return span, [*kept, *((name, text.encode()) for name, text in carrier.items())]

    def _reported(
        self,
        span: Span,
        report: Callable[[KafkaError | None, Message], Any] | None,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """The broker's answer, in the thread that polls the producer."""
        if error is not None:
            self._end(span, error.name(), error.str())
        else:
            self._end(span, message=message)
        if report is not None:
            report(error, message)

    def _end(
        self, span: Span, kind: str = "", text: str = "", message: Message | None = None
    ) -> None:
        try:
            if message is not None:
                span.set_attribute(PARTITION, str(message.partition()))
                span.set_attribute(OFFSET, message.offset() or 0)
            if kind:
                span.set_attribute(ERROR_TYPE, kind)
                span.set_status(StatusCode.ERROR, text)
            span.end()
        except Exception as error:  # noqa: BLE001 - OpenTelemetry's, not the record's
            self._complain.about(error)


class Complaint:
    """Logs what OpenTelemetry raises, now and then."""

    def __init__(self) -> None:
        self._due = 0.0

    def about(self, error: BaseException) -> None:
        """It has raised this; the record goes on."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + COMPLAIN_EVERY
            logger.error("tracing fails; records go on without it", exc_info=error)


def context_of(headers: Sequence[tuple[str, Any]], otherwise: Context) -> Context:
    """The context that a record's headers carry, by the global propagator.

    Args:
        headers: All of them; of several of a name the last counts.
        otherwise: The context if they carry none.
    """
    names = propagate.get_global_textmap().fields
    carrier = {
        name: value if isinstance(value, str) else bytes(value).decode(errors="replace")
        for name, value in headers
        if value is not None and name in names
    }
    return propagate.extract(carrier, otherwise) if carrier else otherwise
