"""OpenTelemetry with its spans kept in memory, and with everything broken."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, Tracer
from opentelemetry.trace import TracerProvider as ApiProvider

from flowodm import connect
from flowodm.testing import InMemoryKafka
from flowodm.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

TRACE, SENDER = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
#: What a traced program puts into a record's headers.
HEADER = ("traceparent", f"00-{TRACE:032x}-{SENDER:016x}-01".encode())


class Spans:
    """A tracer provider whose finished spans can be looked at."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, beginning: str) -> list[ReadableSpan]:
        """Those whose names begin like this, in the order in which they ended."""
        return [s for s in self._exporter.get_finished_spans() if s.name.startswith(beginning)]

    def told(self, beginning: str, *attributes: str) -> list[tuple[Any, ...]]:
        """These attributes of each of them, without the beginnings of their names."""
        known = [
            {name.rpartition(".")[2]: value for name, value in (span.attributes or {}).items()}
            for span in self.named(beginning)
        ]
        return [tuple(one.get(name) for name in attributes) for one in known]


class TracedMemory:
    """An in-memory Kafka whose clients and loops are traced."""

    def __init__(self, **options: Any) -> None:
        self.spans = Spans()
        self.kafka = InMemoryKafka()
        self._tracing = Tracing(**{"tracer_provider": self.spans.provider, **options})
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.kafka)
        connect(tracing=self._tracing)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


class BrokenSpan(NonRecordingSpan):
    """A span of which everything fails that a loop asks of it."""

    def _fail(self, *_arguments: Any, **_more: Any) -> Any:
        raise RuntimeError("the tracer is broken")

    end = set_attribute = set_status = record_exception = _fail


class BrokenTracer(Tracer):
    """A tracer that fails, or whose spans do.

    Args:
        at_once: It makes not even spans.
    """

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once

    def start_span(self, *_arguments: Any, **_more: Any) -> Any:
        if self._at_once:
            raise RuntimeError("the tracer is broken")
        return BrokenSpan(SpanContext(TRACE, SENDER, is_remote=False))

    start_as_current_span: Any = start_span


class BrokenProvider(ApiProvider):
    """Gives out such tracers."""

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once

    def get_tracer(self, *_arguments: Any, **_more: Any) -> Tracer:
        return BrokenTracer(at_once=self._at_once)
