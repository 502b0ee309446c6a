"""Distributed tracing with OpenTelemetry, by ``connect(tracing=Tracing())``.

No other module of flowodm imports this one at its start, as OpenTelemetry's API is an extra. Spans
and attributes have the names of its semantic conventions for messaging, 1.30 to 1.44. The program
chooses the SDK, its exporters and its propagators.

An error of OpenTelemetry is logged; no record fails because of it.
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
        'tracing needs OpenTelemetry\'s API: pip install "flowodm-supervisor[opentelemetry]"'
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
ATTEMPT: Final = "flowodm.attempt"
"""The number of the attempt, from 1."""
OUTCOME: Final = "flowodm.outcome"
"""The result of the attempt."""
STAGE: Final = "flowodm.stage"
"""The stage at which the attempt failed."""

ERROR_LOG_INTERVAL = 30.0
"""Seconds between two log lines about errors of OpenTelemetry."""

_ARGUMENTS = ("partition", "callback", "on_delivery", "timestamp", "headers")
"""The positional arguments of ``Producer.produce`` behind topic, value and key."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tracing:
    """Turns tracing on, as an argument of :func:`flowodm.connection.connect`.

    Attributes:
        tracer_provider: The provider of the spans; by default the global one, even if the program
            sets that one later.
        record_keys: Whether spans have the records' keys, if these are UTF-8. It is off by
            default, as keys may be personal data.
    """

    tracer_provider: TracerProvider | None = None
    record_keys: bool = False

    def tracer(self) -> Tracer:
        """Return the tracer that makes the spans."""
        return trace.get_tracer("flowodm", tracer_provider=self.tracer_provider)

    def key_of(self, key: Any) -> dict[str, str]:
        """Return the attribute of a record's key; none without ``record_keys``."""
        if not self.record_keys or key is None:
            return {}
        try:
            return {KEY: key if isinstance(key, str) else bytes(key).decode()}
        except (TypeError, ValueError):  # not UTF-8
            return {}

    def producers(self, make: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        """Return a function that makes producers which trace records and inject the context.

        Args:
            make: Makes producers without tracing.
        """
        spans = SendSpans(self)
        if make is confluent_kafka.Producer:
            return partial(TracedProducer, spans=spans)

        def make_traced(config: dict[str, Any]) -> Any:
            producer = make(config)
            producer.produce = partial(spans.send, producer.produce)
            return producer

        return make_traced


class TracedProducer(confluent_kafka.Producer):
    """confluent_kafka's producer, with a span for each record.

    Args:
        config: librdkafka's configuration.
        spans: Makes the spans.
    """

    def __init__(self, config: dict[str, Any], spans: SendSpans) -> None:
        super().__init__(config)
        self._spans = spans

    def produce(self, *args: Any, **options: Any) -> None:
        """See confluent_kafka.Producer.produce."""
        self._spans.send(super().produce, *args, **options)


class SendSpans:
    """Makes the spans of sent records, and puts their context into the records' headers.

    Args:
        tracing: The program's options.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._tracer = tracing.tracer()
        self._errors = ErrorLog()

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
            produce: Hands the record to librdkafka.
            topic: The topic.
            value: The value.
            key: The key.
            more: Further positional arguments of ``Producer.produce``.
            options: Further keyword arguments of ``Producer.produce``.
        """
        options.update(zip(_ARGUMENTS, more, strict=False))
        try:
            span, headers = self._begin(topic, value, key, options=options)
        except Exception as error:  # noqa: BLE001 - OpenTelemetry's, or produce() raises it too
            self._errors.log(error)
            produce(topic, value=value, key=key, **options)
            return
        callback, on_delivery = options.pop("callback", None), options.pop("on_delivery", None)
        report = on_delivery if callback is None else callback
        options["headers"] = headers
        options["on_delivery"] = partial(self._finish, span, report)
        try:
            produce(topic, value=value, key=key, **options)
        except BufferError:
            raise  # the caller tries again, with another span; this one is dropped
        except Exception as error:
            self._end(span, type(error).__qualname__, str(error))
            raise

    def _begin(
        self, topic: str, value: Any, key: Any, options: dict[str, Any]
    ) -> tuple[Span, list[tuple[str, Any]]]:
        pairs = options.get("headers") or ()
        headers = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
        parent = contexts.get_current()
        if headers and not trace.get_current_span(parent).get_span_context().is_valid:
            parent = context_of(headers, parent)  # such as a replayed record has
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

    def _finish(
        self,
        span: Span,
        report: Callable[[KafkaError | None, Message], Any] | None,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """Take the broker's answer, in the thread that polls the producer."""
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
            self._errors.log(error)


class ErrorLog:
    """Logs errors of OpenTelemetry, at most one in ERROR_LOG_INTERVAL seconds."""

    def __init__(self) -> None:
        self._due = 0.0

    def log(self, error: BaseException) -> None:
        """Log an error, or drop it."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + ERROR_LOG_INTERVAL
            _log.error("tracing failed; the record goes on without it", exc_info=error)


def context_of(headers: Sequence[tuple[str, Any]], otherwise: Context) -> Context:
    """Return the context in a record's headers, as the global propagator reads it.

    Args:
        headers: The record's headers; of several with one name the last counts.
        otherwise: The context to return if the headers have none.
    """
    names = propagate.get_global_textmap().fields
    carrier = {
        name: value if isinstance(value, str) else bytes(value).decode(errors="replace")
        for name, value in headers
        if value is not None and name in names
    }
    return propagate.extract(carrier, otherwise) if carrier else otherwise
