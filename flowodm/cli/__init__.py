"""The command `flowodm`; `python -m flowodm.cli` is the same."""

from __future__ import annotations

import sys

from flowodm.cli.process import (
    NO_OUTPUT,
    ExitStatus,
    OutputClosedError,
    leave,
    open_standard_streams,
)


def main() -> None:
    """Run the command; an error that the user can fix never ends with a traceback."""
    open_standard_streams()
    try:
        from flowodm.cli.app import run  # noqa: PLC0415 - Ctrl-C may come while this imports

        try:
            run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        leave(ExitStatus.INTERRUPTED, "interrupted")
    except (OutputClosedError, BrokenPipeError):
        leave(ExitStatus.OUTPUT_FAILED)  # the reader has left: no message
    except OSError as error:
        if error.errno not in NO_OUTPUT:
            raise
        leave(ExitStatus.OUTPUT_FAILED, str(error))
