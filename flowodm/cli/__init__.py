"""The command `flowodm`; `python -m flowodm.cli` is the same."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys

STDERR = 2
NO_OUTPUT = {errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG}
INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""
OUTPUT_FAILED = 74
"""Exit status where the output cannot be written: EX_IOERR (man 3 sysexits)."""


class NobodyReadsError(Exception):
    """Whoever read the output, such as head, has closed it."""


def main() -> None:
    """Run the command; never ends with a traceback for what the user can put right."""
    _open_standard_streams()
    try:
        from flowodm.cli.app import run  # noqa: PLC0415 - Ctrl-C may come while this imports

        try:
            run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _leave(INTERRUPTED, "interrupted")
    except (NobodyReadsError, BrokenPipeError):
        _leave(OUTPUT_FAILED, "")  # who reads no further knows why there is no more
    except OSError as error:
        if error.errno not in NO_OUTPUT:
            raise
        _leave(OUTPUT_FAILED, str(error))


def _open_standard_streams() -> None:
    """Give file descriptors 0 to 2 to /dev/null where they are closed.

    Otherwise the next socket becomes standard output, and gets the records.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= STDERR:  # the lowest that is free
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # JSON is UTF-8 (RFC 8259), and may hold half of a surrogate pair, which UTF-8 cannot.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _leave(status: int, why: str) -> None:
    """End with one line, and without the interpreter's attempt to flush what cannot be."""
    with contextlib.suppress(OSError):  # there is nobody left to tell
        if why:
            os.write(STDERR, f"flowodm: {why}\n".encode(errors="backslashreplace"))
    os._exit(status)
