"""Logging of the supervisor's command and of its workers: one line an event, on stderr.

`configure` is for processes that belong to the supervisor: the command itself and each worker.
A program that embeds a supervisor keeps its own logging. What user code logs through the
standard library or through structlog comes out in the same lines, with the same fields.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import structlog

from supervisor.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from structlog.typing import EventDict, Processor, WrappedLogger

LONGEST_QUEUE = 10_000
"""Lines that wait to be written; further lines are dropped and counted."""
ROOM_TIMEOUT = 0.1
"""Seconds that a log call waits for room in a full queue.

Only the first call waits; those that follow do not, until a line has been written.
"""
FLUSH_TIMEOUT = 1.0
"""Seconds that the end of a process waits for its last lines to be written."""
_STDERR = 2
"""File descriptor that lines are written to."""


def configure(
    *,
    level: str,
    fmt: Literal["json", "console"],
    fields: Mapping[str, object],
    secrets: Collection[str] | Redactor = (),
    more: Sequence[Processor] = (),
) -> None:
    """Send all logging of this process to stderr.

    Args:
        level: Lowest level that is logged: "debug", "info", "warning" or "error".
        fmt: "json", or "console" for people.
        fields: Fields that each line gets unless it has its own: consumer, slot, pid.
        secrets: Values to replace wherever they occur, or the redactor that replaces them.
        more: Processors that add further fields.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_fields(fields),
        *more,
    ]
    _configure_structlog(shared)
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _expand_facts if fmt == "json" else _drop_facts,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact(secrets),
        _renderer(fmt),
    ]
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=last, foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable


def flush() -> None:
    """Wait until every line is written, for `FLUSH_TIMEOUT` at most.

    A process that ends normally does this by itself; call it before os._exit.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _StderrHandler):
            handler.flush()


class _StderrHandler(logging.Handler):
    """Writes to stderr from a thread of its own: a stderr that nobody reads blocks no other.

    Each line is one write: a pipe takes it as a whole, up to PIPE_BUF bytes, from many processes
    (man 7 pipe). It does not go through sys.stderr, whose lock the blocked thread would hold at
    the interpreter's end.

    Not made of logging.handlers.QueueHandler and QueueListener: the listener's end waits without
    a time-out, the interpreter's end waits for the lock of the handler that is blocked, and
    counting what was dropped, waiting for room and flushing would still be ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        """Guards all of these, and tells of each change."""
        self._dropped = 0
        """Lines dropped since the last notice."""
        self._writing = False
        """Whether the thread has taken a line that is not written yet."""
        self._stuck = False
        """Whether a log call has waited for room in vain since the last line was written."""
        self._forked = False
        """Whether this process is a fork of the one that has the thread."""
        os.register_at_fork(after_in_child=self._after_fork)
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a line into the queue; drop and count it if the queue stays full."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - as logging's own handlers do
            line = self._unformatted(record, error)
        if self._forked:
            _write(line)
            return
        with self._changed:
            # A reader that reads gets everything, however busy this process is.
            if not self._room() and not self._stuck:
                self._stuck = not self._changed.wait_for(self._room, ROOM_TIMEOUT)
            if not self._room():
                self._dropped += 1
                return
            if self._dropped:
                self._lines.append(self._drop_notice())
            self._lines.append(line)
            self._changed.notify_all()

    def _unformatted(self, record: logging.LogRecord, error: Exception) -> str:
        """Make a line in place of one that cannot be made.

        It has no values, which the standard library would show: one may be a secret.
        """
        text = f"a line of {record.name} cannot be logged: {type(error).__name__} in its formatting"
        place = (record.pathname, record.lineno)
        return self.format(logging.LogRecord("supervisor", logging.ERROR, *place, text, (), None))

    def flush(self) -> None:
        """Wait until every line is written, for `FLUSH_TIMEOUT` at most."""
        deadline = time.monotonic() + FLUSH_TIMEOUT
        with self._changed:
            while self._lines or self._writing or self._dropped:
                if self._forked or not self._changed.wait(deadline - time.monotonic()):
                    return

    def _room(self) -> bool:
        return len(self._lines) < LONGEST_QUEUE

    def _write_lines(self) -> None:
        while True:
            with self._changed:
                self._writing = self._stuck = False
                self._changed.notify_all()
                while not self._lines and not self._dropped:
                    self._changed.wait()
                line = self._lines.popleft() if self._lines else self._drop_notice()
                self._writing = True
            _write(line)

    def _drop_notice(self) -> str:
        """Make the line that tells how many lines were dropped before it."""
        count, self._dropped = self._dropped, 0
        text = f"{count} lines were dropped from the log: stderr is not read fast enough"
        record = logging.LogRecord("supervisor", logging.WARNING, __file__, 0, text, None, None)
        return self.format(record)

    def _after_fork(self) -> None:
        """Write directly from now on, in a child that user code forked; drop the parent's lines."""
        self._forked = True
        self._changed = threading.Condition()
        self._lines.clear()
        self._dropped = 0


def _write(line: str) -> None:
    """Write a line, for as long as that takes. A line that cannot be written is lost."""
    rest = f"{line}\n".encode(errors="backslashreplace")
    while rest:
        try:
            rest = rest[os.write(_STDERR, rest) :]
        except BlockingIOError:  # another process has set O_NONBLOCK on this terminal or pipe
            select.select([], [_STDERR], [])
        except OSError:  # the reader is gone or the disk is full: there is nowhere to log it
            return


def _configure_structlog(shared: list[Processor]) -> None:
    """Send what user code logs through structlog through the standard library's loggers."""
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
    """Resolve "auto": "console" if stderr is a terminal, else "json"."""
    if fmt == "auto":
        return "console" if sys.stderr.isatty() else "json"
    return fmt


def _add_fields(fields: Mapping[str, object]) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name, value in fields.items():
            event.setdefault(name, value)
        return event

    return add


def _expand_facts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make a field of each fact that flowodm logs, and the event of the fact "event"."""
    facts = event.pop("flowodm", None)
    if isinstance(facts, dict):
        event["event"] = facts.get("event", event["event"])
        for name, value in facts.items():
            event.setdefault(name, value)
    return event


def _drop_facts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop the facts that flowodm logs: its message, for people, has them all."""
    event.pop("flowodm", None)
    return event


def _redact(secrets: Collection[str] | Redactor) -> Processor:
    redact = secrets if isinstance(secrets, Redactor) else Redactor(secrets)

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value)
        if isinstance(value, int | float | None):
            return value
        # Each value by itself: a container shows quotes and backslashes escaped.
        if isinstance(value, dict):
            return {hide(str(key)): hide(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [hide(item) for item in value]
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


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "unknown"
    exc = args.exc_value
    logging.getLogger("supervisor").error(
        "a thread ended with an exception", extra={"thread_name": name}, exc_info=exc
    )


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    """Log an exception that cannot be caught: in a finalizer, or in a function of atexit."""
    logging.getLogger("supervisor").error(
        "an exception was ignored: %s",
        args.err_msg or "it cannot be caught",
        exc_info=args.exc_value,
    )
