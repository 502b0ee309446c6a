"""Where the command `flowodm-supervisor` begins; `python -m supervisor` is the same."""

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
_NO_OUTPUT = {errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG}
INTERRUPTED = 130
"""Exit status after Ctrl-C before there was anything to drain: 128 + SIGINT, as shells have it."""
OUTPUT_FAILED = 74
"""Exit status where the output cannot be written: EX_IOERR (man 3 sysexits)."""

MIXED_UP = 71
"""Exit status where another distribution has overwritten our files: EX_OSERR (man 3 sysexits)."""


def main() -> None:
    """Run the command; never ends with a traceback for what the operator can put right."""
    _open_standard_streams()
    try:
        _import_structlog()
        # Ctrl-C may come while this imports.
        from supervisor.cli.app import NobodyReadsError, app  # noqa: PLC0415 - see above

        try:
            app()
        except NobodyReadsError as error:
            _leave(OUTPUT_FAILED, str(error))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _leave(INTERRUPTED, "interrupted")
    except ImportError:
        from supervisor.check.conflicts import neighbours  # noqa: PLC0415 - they may be the reason

        if not (others := neighbours()):
            raise
        _leave(MIXED_UP, "\n".join(map(str, others)))
    except OSError as error:
        if error.errno not in _NO_OUTPUT:
            raise
        _leave(OUTPUT_FAILED, str(error))


def _open_standard_streams() -> None:
    """Give file descriptors 0 to 2 to /dev/null where they are closed.

    Otherwise the next socket becomes standard error, and gets what is meant for people.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= STDERR:  # the lowest that is free
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _import_structlog() -> None:
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


def _leave(status: int, why: str) -> None:
    """End with one line, and without the interpreter's attempt to flush what cannot be."""
    with contextlib.suppress(OSError):  # there is nobody left to tell
        os.write(STDERR, f"flowodm-supervisor: {why}\n".encode(errors="backslashreplace"))
    os._exit(status)


if __name__ == "__main__":
    main()
