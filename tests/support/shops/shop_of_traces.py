"""A fleet whose spans end up in files, one a line; as a user's module would set it up."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import shop
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from flowodm.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

#: Milliseconds: long enough that only the end of a process exports anything.
NEVER = 3_600_000


class FileExporter(SpanExporter):
    """Writes spans to a file of this process, or hangs where SHOP_EXPORTER says so."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if os.environ.get("SHOP_EXPORTER") == "hangs":
            threading.Event().wait()
        for span in spans:
            shop.trace("span", span.to_json(indent=None))
        return SpanExportResult.SUCCESS


def install_exporter(folder: Path) -> None:
    """Make ``OTEL_TRACES_EXPORTER=file`` mean FileExporter where a folder is in sys.path."""
    info = folder / "file_exporter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: file-exporter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\nfile = shop_of_traces:FileExporter\n"
    )


def handle(order: shop.Order) -> None:
    span = trace.get_current_span().get_span_context()
    logging.getLogger("shop").warning("order %d", order.order_id)
    shop.trace("handled", order.order_id)
    shop.trace("current", trace.format_span_id(span.span_id))


def __getattr__(name: str) -> Tracing:
    """``shop_of_traces:tracing`` sets the SDK up; importing the module for its handler does not."""
    if name != "tracing":
        raise AttributeError(name)
    provider = TracerProvider()
    processor = BatchSpanProcessor(FileExporter(), schedule_delay_millis=NEVER)
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return Tracing(record_keys=True)
