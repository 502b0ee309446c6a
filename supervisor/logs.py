"""How the supervisor's command and its workers log: one line an event, to stderr.

Only a process that belongs to the supervisor is configured (the command itself and each
worker), never a program that embeds it. User code that logs through the standard library or
through structlog ends up in the same lines, with the same fields.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Literal

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
SHORTEST_SECRET = 4
"""Characters below which a value is not searched for: replacing every "a" hides nothing."""


def configure(
    *,
    level: str,
    fmt: Literal["json", "console"],
    fields: Mapping[str, object],
    secrets: Collection[str] = (),
) -> None:
    """Send all logging of this process to stderr.

    Args:
        level: Lowest level that is logged: "debug", "info", "warning" or "error".
        fmt: "json", or "console" for people.
        fields: What each line carries unless it has its own: consumer, slot, pid.
        secrets: Values that are replaced wherever they turn up.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _default(fields),
    ]
    _configure_structlog(shared)
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _spread if fmt == "json" else _fold,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact(secrets),
        _renderer(fmt),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=last, foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    threading.excepthook = _thread_failed


def _configure_structlog(shared: list[Processor]) -> None:
    """Send what user code logs through structlog the way of the standard library."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def resolve(fmt: Literal["auto", "json", "console"]) -> Literal["json", "console"]:
    """The format that "auto" stands for: console where stderr is a terminal."""
    if fmt == "auto":
        return "console" if sys.stderr.isatty() else "json"
    return fmt


def redactor(secrets: Collection[str]) -> Callable[[str], str]:
    """A function that replaces each of these values in a text."""
    # The longest first: one secret may be part of another.
    hidden = sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, REDACTED)
        return text

    return redact


def _default(fields: Mapping[str, object]) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name, value in fields.items():
            event.setdefault(name, value)
        return event

    return add


def _spread(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Give the facts in a line of flowodm's journal fields of their own, and the bare event."""
    facts = event.pop("flowodm", None)
    if isinstance(facts, dict):
        event["event"] = facts.get("event", event["event"])
        for name, value in facts.items():
            event.setdefault(name, value)
    return event


def _fold(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """For people the journal's message says it all."""
    event.pop("flowodm", None)
    return event


def _redact(secrets: Collection[str]) -> Processor:
    redact = redactor(secrets)

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value)
        if isinstance(value, int | float | None):
            return value
        shown = str(value)
        return value if (hidden := redact(shown)) == shown else hidden

    def apply(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: hide(value) for name, value in event.items()}

    return apply


def _renderer(fmt: Literal["json", "console"]) -> Processor:
    if fmt == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
    )


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "unknown"
    exc = args.exc_value
    logging.getLogger("supervisor").error(
        "a thread ended with an exception", extra={"thread_name": name}, exc_info=exc
    )
