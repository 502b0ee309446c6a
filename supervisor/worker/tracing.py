"""OpenTelemetry in a worker: set up after the fork, shut down within the drain, in each log line.

The tracing itself is flowodm's; this is about the SDK, which a program of its own would set up
and leave to the interpreter's end.
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
"""Seconds that the last spans get to be exported, as far as the drain leaves so much."""
SHORTEST_END = 1.0
"""Seconds that they get in any case."""

log = logging.getLogger("supervisor.worker")


def set_up() -> None:
    """Let OpenTelemetry set itself up by the OTEL_* variables, as `opentelemetry-instrument` does.

    It has threads, so this is for the worker, and it patches libraries, so it is for the time
    before the user's modules are imported. Nothing happens where opentelemetry-distro is not
    installed, or where somebody has set the SDK up already.
    """
    if _is_set_up():
        return
    try:
        from opentelemetry.instrumentation import auto_instrumentation  # noqa: PLC0415 - optional
    except ImportError:
        return
    auto_instrumentation.initialize()


def warn_if_nothing_is_exported() -> None:
    """Say that only the context travels, where nobody has set the SDK up by now."""
    if not _is_set_up():
        log.warning(
            "tracing is on, but OpenTelemetry's SDK is not set up: no spans are made, the context "
            "of records is passed on; install opentelemetry-distro and an exporter, or name a "
            "module that sets it up"
        )


def _is_set_up() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def shut_down(left: float) -> None:
    """Export what is left, within some seconds, whatever the exporters do.

    Args:
        left: Seconds until the end of the drain.
    """
    calls = [
        provider.shutdown
        for provider in _providers()
        if callable(getattr(provider, "shutdown", None))
    ]
    for call in calls:
        atexit.unregister(call)  # it would have no bound there
    limit = max(SHORTEST_END, min(left, LONGEST_END))
    ending = threading.Thread(target=_call_all, args=(calls,), name="tracing-end", daemon=True)
    ending.start()
    ending.join(limit)
    if ending.is_alive():
        log.warning("the last spans were not exported within %g s and are given up", limit)


def _providers() -> tuple[Any, ...]:
    return (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        try:
            call()
        except Exception:
            log.exception("OpenTelemetry cannot be shut down")


def current_span(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The log line's span, as structlog's processors add fields."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event.setdefault("trace_id", trace.format_trace_id(span.trace_id))
        event.setdefault("span_id", trace.format_span_id(span.span_id))
    return event
