"""The commands of `flowodm`, and what becomes of their errors."""

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
from flowodm.cli.connecting import LastWords
from flowodm.cli.outcome import status_of
from flowodm.cli.process import NO_OUTPUT, STATUSES, ExitStatus, OutputClosedError
from flowodm.cli.terminal import complain
from flowodm.exceptions import FlowODMError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELP = """
Typed Kafka records at the command line: schemas and their registry, records in and out as JSON
lines, dead letters, a broker for development.

Addresses and credentials come from the environment, as they do for flowodm.connect():
KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME,
KAFKA_SASL_PASSWORD, SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_API_KEY, SCHEMA_REGISTRY_API_SECRET.
Modules that MODEL names are looked for in the current folder first.

\b
    flowodm validate --models shop.orders --registry --strict
    flowodm consume shop.orders:Order --from 1h --max 10
    flowodm produce shop.orders:Order < orders.jsonl
    flowodm dead-letters list orders.DLT
"""


class _Commands(TyperGroup):
    """Ends by a closed pipe and by Ctrl-C with statuses of ours; click's are 1 for both."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _endings():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _endings():
            return super().invoke(ctx)


@contextmanager
def _endings() -> Iterator[None]:
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
_LIBRDKAFKA = logging.getLogger("flowodm.librdkafka")


def _version(asked: bool) -> None:
    if asked:
        try:
            found = version("flowodm-supervisor")
        except PackageNotFoundError:  # run from a checkout that was never installed
            found = "unknown"
        typer.echo(f"flowodm {found}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it and end."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="The log on stderr, librdkafka's and tracebacks included."
        ),
    ] = False,
) -> None:
    del version
    _log(verbose=verbose)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


class _Once(logging.Filter):
    """Passes each line once: a client that cannot connect says so three times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage().partition(" (after ")[0]  # after so many milliseconds
        if record.name == _LIBRDKAFKA.name or text in self._said:
            return False
        self._said.add(text)
        return True


def _log(*, verbose: bool) -> None:
    """The library's warnings; librdkafka's own words only if they are asked for."""
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
    """Run the command that the arguments name; ends with SystemExit."""
    words = LastWords()
    _LIBRDKAFKA.addHandler(words)
    try:
        app(prog_name="flowodm")
    except FlowODMError as error:
        if logging.getLogger("flowodm").isEnabledFor(logging.INFO):
            traceback.print_exc()
        status = status_of(error)
        last = words.text if status is ExitStatus.UNREACHABLE else ""
        complain(f"{error} (the Kafka client says: {last})" if last else str(error))
        sys.exit(status)
    except OutputClosedError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_OUTPUT:
            raise
        traceback.print_exc()  # Python's own status, 1, would mean that the answer is no
        sys.exit(ExitStatus.BROKEN)
