"""Where the command `flowodm-supervisor` begins; `python -m supervisor` is the same."""

from __future__ import annotations

import sys

from supervisor.cli import process


def main() -> None:
    """Run the command; never ends with a traceback for what the operator can put right."""
    process.open_standard_streams()
    try:
        process.import_structlog()
        # Ctrl-C may come while this imports.
        from supervisor.cli.app import app  # noqa: PLC0415 - see above

        try:
            app()
        except process.NobodyReadsError as error:
            process.leave(process.OUTPUT_FAILED, str(error))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        process.leave(process.INTERRUPTED, "interrupted")
    except ImportError:
        from supervisor.check.conflicts import conflicts  # noqa: PLC0415 - they may be the reason

        if not (others := conflicts()):
            raise
        process.leave(process.MIXED_UP, "\n".join(map(str, others)))
    except OSError as error:
        if error.errno not in process.NO_OUTPUT:
            raise
        process.leave(process.OUTPUT_FAILED, str(error))


if __name__ == "__main__":
    main()
