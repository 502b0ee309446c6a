"""The command dev-broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flowodm.cli.process import ExitStatus
from flowodm.cli.terminal import AsJson, fail, json_text, line, say
from flowodm.testing import BrokerError, EmbeddedBroker

if TYPE_CHECKING:
    from types import FrameType

_CHECK_INTERVAL = 0.2
"""Seconds between two checks whether the broker is alive."""
_NOT_FOUND = 127
"""The shell's exit status for a command that does not exist."""
_NOT_EXECUTABLE = 126
"""The shell's exit status for a command that cannot be executed."""
_KILLED = 128
"""The shell's exit status for a command that a signal ended, without the signal's number."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "dev-broker", context_settings={"allow_interspersed_args": False}, epilog=_STATUSES
    )(dev_broker)


_STATUSES = """
\b
Examples:
  flowodm dev-broker
  flowodm dev-broker pytest -q
\b
Exit status:
  0   ended by Ctrl-C or SIGTERM
  71  the broker does not start, or has died
  With COMMAND: the exit status of COMMAND; 126 or 127 if it cannot be run,
  128 plus the signal's number if a signal ended it.
"""


def dev_broker(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...",
            help="Run this command with KAFKA_BOOTSTRAP_SERVERS set, and end with it.",
        ),
    ] = None,
    brokers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="The number of brokers in the cluster.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Start a Kafka broker for development, without Java.

    It listens on free ports of 127.0.0.1, prints its address, and loses all data when it ends. A
    topic is created, with 4 partitions, when the first record is sent to it. The broker is
    librdkafka's mock cluster: it is good for trying things out, but does not prove what a real
    broker does.
    """
    try:
        with EmbeddedBroker(brokers) as broker:
            if command:
                raise typer.Exit(_run(command, broker.bootstrap_servers))
            _serve(broker, as_json)
    except BrokerError as error:
        fail(str(error), ExitStatus.UNAVAILABLE)


def _serve(broker: EmbeddedBroker, as_json: bool) -> None:
    address = broker.bootstrap_servers
    signal.signal(signal.SIGTERM, _interrupt)
    line(json_text({"bootstrap_servers": address, "pid": broker.pid}) if as_json else address)
    if not as_json and sys.stdout.isatty():
        hint = f"In another terminal: export KAFKA_BOOTSTRAP_SERVERS={address}"
        say(f"Ctrl-C ends the broker. {hint}", "dim")
    try:
        while broker.alive:
            time.sleep(_CHECK_INTERVAL)
    except KeyboardInterrupt:
        raise typer.Exit(ExitStatus.DONE) from None
    fail("the broker has died", ExitStatus.UNAVAILABLE)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt


def _run(command: list[str], address: str) -> int:
    """Run a command to its end; return its exit status.

    The terminal sends it Ctrl-C; SIGTERM is passed on from here.
    """
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": address}
    pending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: pending.append(number))
    try:
        process = subprocess.Popen(command, env=environment)  # noqa: S603 - the user's own
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        fail(f"{command[0]}: {error.strerror}", _NOT_FOUND if is_missing else _NOT_EXECUTABLE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # now, as a child inherits an ignored signal
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    for number in pending:
        process.send_signal(number)
    status = process.wait()
    return status if status >= 0 else _KILLED - status
