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
_TRACEBACKS = "rich.traceback"
NO_OUTPUT = {errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG}
"""Errors that mean that the output cannot be written."""
INTERRUPTED = 130
"""Exit status after Ctrl-C before there was anything to drain: 128 + SIGINT, as shells have it."""
OUTPUT_FAILED = 74
"""Exit status where the output cannot be written: EX_IOERR (man 3 sysexits)."""
MIXED_UP = 71
"""Exit status where another distribution has overwritten our files: EX_OSERR (man 3 sysexits)."""


class NobodyReadsError(Exception):
    """The reader of the output has closed it."""


def open_standard_streams() -> None:
    """Give file descriptors 0 to 2 to /dev/null where they are closed.

    Otherwise the next socket becomes standard error, and gets what is meant for people.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= STDERR:  # the lowest that is free
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def import_structlog() -> None:
    """Import it without rich's tracebacks, and with them all of Pygments.

    They are for a renderer that nothing here uses, and cost the supervising process 3.5 MB.
    """
    if _TRACEBACKS not in sys.modules:
        # By Python's reference None makes an import fail, and structlog does without.
        sys.modules[_TRACEBACKS] = cast("ModuleType", None)
        try:
            import structlog  # noqa: F401, PLC0415 - for those who import it later
        finally:
            del sys.modules[_TRACEBACKS]


def leave(status: int, why: str) -> None:
    """End with one line, and without the interpreter's attempt to flush what cannot be."""
    with contextlib.suppress(OSError):  # there is nobody left to tell
        os.write(STDERR, f"flowodm-supervisor: {why}\n".encode(errors="backslashreplace"))
    os._exit(status)
