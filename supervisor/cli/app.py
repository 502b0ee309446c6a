"""The command `flowodm-supervisor` and its subcommands run and demo; see `__main__`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from supervisor import logs
from supervisor.cli import check, control
from supervisor.cli.check import ConfigFile, errors, load
from supervisor.cli.pid1 import serve_as_init
from supervisor.cli.process import OutputClosedError
from supervisor.config.problems import ConfigError, Problem
from supervisor.config.toml import load_config
from supervisor.redaction import of_environment
from supervisor.report import ExitStatus
from supervisor.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from supervisor.config.config import SupervisorConfig
    from supervisor.report import RunReport

_log = logging.getLogger("supervisor")

# A line with \b alone keeps the lines below it as they are, up to the next empty line.
_EXIT_STATUS = """
\b
Exit status:
  0   every worker finished its handlers and ended
  2   wrong command line
  3   at the end a worker was killed, crashed or left handlers unfinished
  4   a worker failed for good
  5   the running supervisor refused the request, or gave it up
  69  no supervisor answers
  71  the system refused something at the start, such as a port in use
  74  the output could not be written
  78  the configuration is not valid and nothing was started
  130 Ctrl-C before anything was started
"""
_HELP = """
Run fleets of flowodm consumer loops from a TOML file: each worker is a process of its own,
restarted when it crashes and drained at a stop.

A first configuration:

\b
    [kafka]
    bootstrap_servers = "localhost:9092"
\b
    [consumers.orders]
    model = "shop.orders:OrderEvent"
    handler = "shop.orders:process_order"
    workers = 4

Then: flowodm-supervisor check FILE, and flowodm-supervisor run FILE. Ctrl-C or SIGTERM drains;
a second one, or SIGQUIT, kills at once.

/metrics, /healthz, /readyz and /status are at http://127.0.0.1:9108 unless the file says
otherwise.
"""


class _Commands(TyperGroup):
    """Reports a closed pipe; click would end with status 1 and without a message."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _closed_pipe_reported():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _closed_pipe_reported():
            return super().invoke(ctx)


@contextlib.contextmanager
def _closed_pipe_reported() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosedError(str(error)) from None


app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    epilog=_EXIT_STATUS,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"flowodm-supervisor {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


@app.command(epilog=_EXIT_STATUS)
def run(file: ConfigFile) -> None:
    """Run the workers of FILE until SIGTERM or Ctrl-C.

    SIGTERM and SIGINT (Ctrl-C) drain: workers finish their running handlers, within
    supervisor.drain_timeout, and commit. A second signal, or SIGQUIT, kills them. SIGHUP reloads
    FILE, or drains if a closing terminal has sent it.

    The log goes to stderr: for people if that is a terminal, else as JSON lines (see
    supervisor.log_format). Modules that FILE names are searched for in this directory first.
    """
    serve_as_init()
    from supervisor.check.conflicts import conflicts  # noqa: PLC0415 - as below
    from supervisor.daemon import StartError  # noqa: PLC0415 - `--help` is quick without it

    config = load(file)
    logs.configure(
        level=config.supervisor.log_level,
        fmt=logs.resolve(config.supervisor.log_format),
        fields={"pid": os.getpid()},
        secrets=[*config.secrets(), *of_environment(os.environ)],
    )
    for conflict in conflicts():
        _log.warning("%s", conflict)
    try:
        report = asyncio.run(_run(file, config))
    except StartError as error:
        errors().print(Text(f"flowodm-supervisor: {error}"))
        raise typer.Exit(ExitStatus.UNAVAILABLE) from None
    if sys.stderr.isatty():
        logs.flush()  # so that the report comes last
        _show(report)
    raise typer.Exit(report.status)


async def _run(file: Path, config: SupervisorConfig) -> RunReport:
    from supervisor.cli.signals import handled  # noqa: PLC0415 - as above
    from supervisor.control.server import default_path  # noqa: PLC0415 - as above
    from supervisor.daemon import TURN, Supervisor  # noqa: PLC0415 - as above
    from supervisor.systemd.notifier import notifier_of  # noqa: PLC0415 - as above

    notifier = notifier_of(os.environ, os.getpid())
    supervisor = Supervisor(
        config,
        observers=[] if notifier is None else [notifier],
        turn=TURN if notifier is None else min(TURN, notifier.turn),
        control=default_path(config.supervisor.own_name),
        read=partial(_valid, file),
    )
    with handled(supervisor):
        return await supervisor.run()


def _valid(file: Path) -> SupervisorConfig:
    """Read FILE for a reload.

    Raises:
        ConfigError: It is not valid, or `check` finds problems.
    """
    from supervisor.check.report import check as check_config  # noqa: PLC0415 - as above

    config = load_config(file)
    problems = [problem for consumer in check_config(config) for problem in consumer.problems]
    if problems:
        parts = (problem.partition(": ") for problem in dict.fromkeys(problems))
        raise ConfigError(str(file), tuple(Problem(key, what) for key, _, what in parts))
    return config


check.register(app)
control.register(app)


@app.command()
def demo() -> None:
    """Run a broker, a producer and a fleet on this machine.

    Runs until Ctrl-C. If DEMO_SECONDS is set in the environment, it runs for that long, and kills
    a worker on the way. The page is at 127.0.0.1:9108, or at the port DEMO_PORT.
    """
    from supervisor.demo.show import main as show  # noqa: PLC0415 - it imports Kafka's client

    raise typer.Exit(show())


def _show(report: RunReport) -> None:
    """Print how each worker has ended."""
    table = Table("worker", "pid", "ended", "seconds", "left", title="Drain report")
    for worker in report.workers:
        ended = "failed for good" if worker.failed else worker.reason.value
        table.add_row(
            f"{worker.consumer}/{worker.slot}",
            str(worker.pid or ""),
            f"{ended}, killed" if worker.killed and "killed" not in ended else ended,
            f"{worker.seconds:.2f}",
            str(worker.left),
            style="" if worker.clean else "red",
        )
    errors().print(table)
