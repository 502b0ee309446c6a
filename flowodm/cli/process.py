"""The command as a process: its standard streams and its exit statuses.

Imports only the standard library, so that Ctrl-C is handled while the rest is still loading.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from enum import IntEnum
from typing import NoReturn

_STDERR = 2

NO_OUTPUT = frozenset(
    {errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG}
)
"""Errors of a write to standard output that no retry can fix."""


class ExitStatus(IntEnum):
    """The exit statuses of the command `flowodm`."""

    DONE = 0
    """The command succeeded; if it answers a question, the answer is yes."""
    NO = 1
    """The answer is no: a model does not fit its schema, or a line or record is unreadable."""
    USAGE = 2
    """The command line is wrong."""
    REFUSED = 5
    """Kafka or the registry answered, and refused."""
    UNREACHABLE = 69
    """Kafka or the registry does not answer (EX_UNAVAILABLE)."""
    BROKEN = 70
    """A bug in the command itself; it prints a traceback (EX_SOFTWARE)."""
    UNAVAILABLE = 71
    """The development broker does not start, or has died (EX_OSERR)."""
    OUTPUT_FAILED = 74
    """The output cannot be written (EX_IOERR)."""
    CONFIGURATION = 78
    """A model, a file or an address is missing or wrong (EX_CONFIG)."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as shells report it."""


STATUSES = """
\b
Exit status:
  0   success; if the command answers a question, the answer is yes
  1   the answer is no: a model does not fit its schema, or some lines or
      records could not be read
  2   wrong command line
  5   Kafka or the registry refused the request
  69  Kafka or the registry does not answer
  70  a bug in this command; it prints a traceback
  71  the development broker does not start
  74  the output could not be written
  78  a model, a file or an address is missing or wrong
  130 interrupted by Ctrl-C
"""
"""The end of every command's help."""


class OutputClosedError(Exception):
    """The reader of standard output, such as head, has closed it."""


def open_standard_streams() -> None:
    """Open /dev/null for each of the file descriptors 0 to 2 that is closed.

    Otherwise the next socket would become standard output, and receive the records.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= _STDERR:  # the lowest free one
        os.set_inheritable(null, True)
    # Not by its number, which a library may hold by now: libffi 3.5 opens a file when it loads.
    sys.stdin = sys.stdin or os.fdopen(null, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(null, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(null, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # JSON is UTF-8 (RFC 8259), but may hold a lone surrogate, which UTF-8 cannot encode.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def leave(status: ExitStatus, message: str = "") -> NoReturn:
    """End the process at once, without the interpreter's attempt to flush its streams.

    Args:
        status: The exit status.
        message: Written to standard error; empty: nothing is written.
    """
    if message:
        with contextlib.suppress(OSError):  # standard error may be closed too
            os.write(_STDERR, f"flowodm: {message}\n".encode(errors="backslashreplace"))
    os._exit(status)
