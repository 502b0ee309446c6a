"""The start of the command `flowodm-supervisor`; `python -m supervisor` is the same."""

from __future__ import annotations

import sys

from supervisor.cli import process


def main() -> None:
    """Run the command; no error that the operator can correct ends it with a traceback."""
    process.open_standard_streams()
    try:
        process.import_structlog()
        from supervisor.cli.app import app  # noqa: PLC0415 - Ctrl-C may come during the import

        try:
            app()
        except process.OutputClosedError as error:
            process.leave(process.OUTPUT_FAILED, str(error))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        process.leave(process.INTERRUPTED, "interrupted")
    except ImportError:
        from supervisor.check.conflicts import conflicts  # noqa: PLC0415 - for the error only

        if not (others := conflicts()):
            raise
        process.leave(process.MIXED_UP, "\n".join(map(str, others)))
    except OSError as error:
        if error.errno not in process.NO_OUTPUT:
            raise
        process.leave(process.OUTPUT_FAILED, str(error))


if __name__ == "__main__":
    main()
