"""Sets up OpenTelemetry's SDK in a worker, shuts it down, and adds the span to log lines.

flowodm makes the spans. The SDK is usually set up by the program, and shut down when the
interpreter exits; a forked worker has to do both itself.
"""

from __future__ import annotations

import atexit
import logging
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs, metrics, trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, WrappedLogger

LONGEST_END = 3.0
"""Seconds for the export of the last spans, capped by the drain deadline."""
SHORTEST_END = 1.0
"""Seconds for it even if the drain deadline is nearer."""

_log = logging.getLogger("supervisor.worker")


def set_up() -> None:
    """Set up the SDK by the OTEL_* variables, as `opentelemetry-instrument` does.

    The SDK starts threads, so call this after the fork; it patches libraries, so call it before
    the user's modules are imported. Do nothing if opentelemetry-distro is not installed, or the
    SDK is set up already.
    """
    if _is_set_up():
        return
    try:
        from opentelemetry.instrumentation import auto_instrumentation  # noqa: PLC0415 - optional
    except ImportError:
        return
    auto_instrumentation.initialize()


def warn_if_nothing_is_exported() -> None:
    """Log a warning if the SDK is not set up by now."""
    if not _is_set_up():
        _log.warning(
            "tracing is on, but OpenTelemetry's SDK is not set up: no spans are made, the context "
            "of records is passed on; install opentelemetry-distro and an exporter, or name a "
            "module that sets it up"
        )


def _is_set_up() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def shut_down(left: float) -> None:
    """Export the last spans, but do not wait longer than `LONGEST_END`.

    Args:
        left: Seconds until the drain deadline.
    """
    calls = [
        provider.shutdown
        for provider in _providers()
        if callable(getattr(provider, "shutdown", None))
    ]
    for call in calls:
        atexit.unregister(call)  # there it could take for ever
    limit = max(SHORTEST_END, min(left, LONGEST_END))
    ending = threading.Thread(target=_call_all, args=(calls,), name="tracing-end", daemon=True)
    ending.start()
    ending.join(limit)
    if ending.is_alive():
        _log.warning("the last spans were not exported within %g s and are given up", limit)


def _providers() -> tuple[Any, ...]:
    return (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        try:
            call()
        except Exception:  # noqa: BLE001 - the other providers are shut down too
            _log.exception("OpenTelemetry cannot be shut down")


def current_span(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the current span to a log line; a processor of structlog."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event.setdefault("trace_id", trace.format_trace_id(span.trace_id))
        event.setdefault("span_id", trace.format_span_id(span.span_id))
    return event
