"""The process around the command: its standard streams, and how it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from types import ModuleType

STDERR = 2
"""File descriptor of standard error."""
_TRACEBACKS = "rich.traceback"
NO_OUTPUT = {errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG}
"""Errors that mean that the output cannot be written."""
INTERRUPTED = 130
"""Exit status after Ctrl-C before there was anything to drain: 128 + SIGINT, as in shells."""
OUTPUT_FAILED = 74
"""Exit status where the output cannot be written: EX_IOERR (man 3 sysexits)."""
MIXED_UP = 71
"""Exit status where another distribution has overwritten our files: EX_OSERR (man 3 sysexits)."""


class OutputClosedError(Exception):
    """The reader of the output has closed it."""


def open_standard_streams() -> None:
    """Open /dev/null as each of the file descriptors 0 to 2 that is closed.

    Otherwise the next socket would become standard error, and get messages for people.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= STDERR:  # open takes the lowest free one
        os.set_inheritable(null, True)
    # Not by its number, which a library may hold by now: libffi 3.5 opens a file when it loads.
    sys.stdin = sys.stdin or os.fdopen(null, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(null, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(null, "w", closefd=False)


def import_structlog() -> None:
    """Import structlog without rich's tracebacks, which import all of Pygments.

    They serve a renderer that is not used here, and cost the supervising process 3.5 MB.
    """
    if _TRACEBACKS not in sys.modules:
        # None makes the import fail, by Python's reference; structlog then does without.
        sys.modules[_TRACEBACKS] = cast("ModuleType", None)
        try:
            import structlog  # noqa: F401, PLC0415 - so that later imports find it
        finally:
            del sys.modules[_TRACEBACKS]


def leave(status: int, why: str) -> None:
    """Exit with one line on stderr, without flushing: the output may be what has failed."""
    with contextlib.suppress(OSError):  # stderr may be closed, too
        os.write(STDERR, f"flowodm-supervisor: {why}\n".encode(errors="backslashreplace"))
    os._exit(status)
