"""How the supervisor's command and its workers log: one line an event, to stderr.

Only a process that belongs to the supervisor is configured (the command itself and each
worker), never a program that embeds it. User code that logs through the standard library or
through structlog ends up in the same lines, with the same fields.
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
"""Lines that wait for somebody to read stderr; what comes after them is dropped and counted."""
ROOM_TIMEOUT = 0.1
"""Seconds that logging into a full queue waits for room, if any was made since the last time."""
FLUSH_TIMEOUT = 1.0
"""Seconds that the end of a process waits for its last lines to be written."""
_STDERR = 2


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
        fields: What each line carries unless it has its own: consumer, slot, pid.
        secrets: Values that are replaced wherever they turn up, or what replaces them.
        more: Processors that add further fields.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _default(fields),
        *more,
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
    handler = _Unblocked()
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
    sys.unraisablehook = _unraisable


def flush() -> None:
    """Wait until what was logged is written, `FLUSH_TIMEOUT` at most.

    A normal end does this by itself; for those who leave by os._exit.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Unblocked):
            handler.flush()


class _Unblocked(logging.Handler):
    """Writes to stderr from a thread of its own, so that a stderr nobody reads blocks no other.

    One write a line: a pipe takes that whole, up to PIPE_BUF, from many processes (man 7 pipe).
    Not through sys.stderr, whose lock the blocked thread would hold at the interpreter's end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._writing = False
        self._stuck = False
        self._alone = False
        """This is a fork of the process that had the thread."""
        os.register_at_fork(after_in_child=self._forked)
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put the line into the queue, or count it if that is full."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - as logging's own handlers do
            line = self._unformatted(record, error)
        if self._alone:
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
                self._lines.append(self._confession())
            self._lines.append(line)
            self._changed.notify_all()

    def _unformatted(self, record: logging.LogRecord, error: Exception) -> str:
        """A line in place of one that cannot be made; logging's own would quote the values."""
        text = f"a line of {record.name} cannot be logged: {type(error).__name__} in its formatting"
        where = (record.pathname, record.lineno)
        return self.format(logging.LogRecord("supervisor", logging.ERROR, *where, text, (), None))

    def flush(self) -> None:
        """Wait until every line is written, `FLUSH_TIMEOUT` at most."""
        deadline = time.monotonic() + FLUSH_TIMEOUT
        with self._changed:
            while self._lines or self._writing or self._dropped:
                if self._alone or not self._changed.wait(deadline - time.monotonic()):
                    return

    def _room(self) -> bool:
        return len(self._lines) < LONGEST_QUEUE

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._writing = self._stuck = False
                self._changed.notify_all()
                while not self._lines and not self._dropped:
                    self._changed.wait()
                line = self._lines.popleft() if self._lines else self._confession()
                self._writing = True
            _write(line)

    def _confession(self) -> str:
        """The line that says how many were dropped before it."""
        count, self._dropped = self._dropped, 0
        text = f"{count} lines were dropped from the log: nobody read stderr fast enough"
        logger = "supervisor"
        return self.format(
            logging.LogRecord(logger, logging.WARNING, __file__, 0, text, None, None)
        )

    def _forked(self) -> None:
        """In a child that user code forked: no thread came along; the lines are the parent's."""
        self._alone = True
        self._changed = threading.Condition()
        self._lines.clear()
        self._dropped = 0


def _write(line: str) -> None:
    """Write a line, for as long as it takes. One that cannot be written is lost."""
    rest = f"{line}\n".encode(errors="backslashreplace")
    while rest:
        try:
            rest = rest[os.write(_STDERR, rest) :]
        except BlockingIOError:  # somebody else who has this terminal or pipe made it so
            select.select([], [_STDERR], [])
        except OSError:  # the reader is gone or the disk is full: there is nowhere to say so
            return


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


def _redact(secrets: Collection[str] | Redactor) -> Processor:
    redact = secrets if isinstance(secrets, Redactor) else Redactor(secrets)

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value)
        if isinstance(value, int | float | None):
            return value
        # Before they are shown: quotes and backslashes look different inside a container.
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


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "unknown"
    exc = args.exc_value
    logging.getLogger("supervisor").error(
        "a thread ended with an exception", extra={"thread_name": name}, exc_info=exc
    )


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    """An exception that nobody can catch: in a finalizer, or in a function that atexit runs."""
    logging.getLogger("supervisor").error(
        "an exception was ignored: %s",
        args.err_msg or "nobody can catch it",
        exc_info=args.exc_value,
    )
