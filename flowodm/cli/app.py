"""The commands of `flowodm`, and how their errors are reported."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from flowodm.cli import broker, consuming, dead_letters, producing, schemas, subjects
from flowodm.cli.connecting import LastClientMessage
from flowodm.cli.outcome import status_of
from flowodm.cli.process import NO_OUTPUT, STATUSES, ExitStatus, OutputClosedError
from flowodm.cli.terminal import complain
from flowodm.exceptions import FlowODMError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELP = """
Typed Kafka records on the command line: schemas and their registry, records in and out as JSON
lines, dead letters, and a broker for development.

Addresses and credentials come from the environment, as for flowodm.connect():
KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME,
KAFKA_SASL_PASSWORD, SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_API_KEY, SCHEMA_REGISTRY_API_SECRET.
The module of a MODEL is searched for in the current folder first.

\b
    flowodm validate --models shop.orders --registry --strict
    flowodm consume shop.orders:Order --from 1h --max 10
    flowodm produce shop.orders:Order < orders.jsonl
    flowodm dead-letters list orders.DLT
"""


class _Commands(TyperGroup):
    """Gives a closed pipe and Ctrl-C their own exit statuses; click's is 1 for both."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _own_exit_statuses():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _own_exit_statuses():
            return super().invoke(ctx)


@contextmanager
def _own_exit_statuses() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise OutputClosedError from None
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(ExitStatus.INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    epilog=STATUSES,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_librdkafka_log = logging.getLogger("flowodm.librdkafka")


def _print_version(requested: bool) -> None:
    if requested:
        try:
            installed = version("flowodm-supervisor")
        except PackageNotFoundError:  # run from a checkout that was never installed
            installed = "unknown"
        typer.echo(f"flowodm {installed}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Print the log to stderr, with librdkafka's messages and tracebacks.",
        ),
    ] = False,
) -> None:
    del version
    _set_up_logging(verbose=verbose)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


class _Once(logging.Filter):
    """Passes each line once: a client that cannot connect logs three lines a second."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage().partition(" (after ")[0]  # without librdkafka's milliseconds
        if record.name == _librdkafka_log.name or text in self._passed:
            return False
        self._passed.add(text)
        return True


def _set_up_logging(*, verbose: bool) -> None:
    """Print the library's warnings; with ``verbose`` also the rest, and librdkafka's messages."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("flowodm: %(message)s"))
    log = logging.getLogger("flowodm")
    log.addHandler(handler)
    if verbose:
        log.setLevel(logging.INFO)
    else:
        handler.addFilter(_Once())


for _module in (schemas, subjects, producing, consuming, dead_letters, broker):
    _module.register(app)


def run() -> None:
    """Run the command that the arguments name.

    Raises:
        SystemExit: The command has ended.
        OutputClosedError, OSError: The output cannot be written.
    """
    last_message = LastClientMessage()
    _librdkafka_log.addHandler(last_message)
    try:
        app(prog_name="flowodm")
    except FlowODMError as error:
        sys.exit(_report(error, last_message.text))
    except OutputClosedError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_OUTPUT:
            raise
        traceback.print_exc()  # Python's own status, 1, would mean that the answer is no
        sys.exit(ExitStatus.BROKEN)


def _report(error: FlowODMError, client_message: str) -> ExitStatus:
    """Print an error; return its exit status.

    Args:
        error: The error.
        client_message: librdkafka's last message, which says why Kafka cannot be reached.
    """
    if logging.getLogger("flowodm").isEnabledFor(logging.INFO):
        traceback.print_exc()
    status = status_of(error)
    if client_message and status is ExitStatus.UNREACHABLE:
        complain(f"{error} (the Kafka client says: {client_message})")
    else:
        complain(str(error))
    return status
