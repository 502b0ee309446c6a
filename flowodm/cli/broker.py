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
from flowodm.cli.terminal import AsJson, dumped, fail, line, say
from flowodm.testing import BrokerError, EmbeddedBroker

if TYPE_CHECKING:
    from types import FrameType

_LOOK = 0.2
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_KILLED = 128


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
  With COMMAND, its own; 126 or 127 if it cannot be run, 128 and the
  signal's number if a signal ended it.
"""


def dev_broker(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...",
            help="Run this with KAFKA_BOOTSTRAP_SERVERS set, and end with it.",
        ),
    ] = None,
    brokers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="How many the cluster has.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Start a Kafka for development, without Java.

    It listens on free ports of 127.0.0.1, prints its address, and forgets everything in the end.
    The first record that is sent to a topic makes it, with 4 partitions. It is librdkafka's mock
    cluster: good for trying things out, no proof of what a real broker does.
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
    line(dumped({"bootstrap_servers": address, "pid": broker.pid}) if as_json else address)
    if not as_json and sys.stdout.isatty():
        say(f"Until Ctrl-C. Elsewhere: export KAFKA_BOOTSTRAP_SERVERS={address}", "dim")
    try:
        while broker.alive:
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        raise typer.Exit(ExitStatus.DONE) from None
    fail("the broker has died", ExitStatus.UNAVAILABLE)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt


def _run(command: list[str], address: str) -> int:
    """Run it to its end; Ctrl-C reaches it from the terminal, SIGTERM from here."""
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": address}
    early: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: early.append(number))
    try:
        process = subprocess.Popen(command, env=environment)  # noqa: S603 - the user's own
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        fail(f"{command[0]}: {error.strerror}", _NOT_FOUND if missing else _NOT_EXECUTABLE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after the start: a child inherits it
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    for number in early:
        process.send_signal(number)
    status = process.wait()
    return status if status >= 0 else _KILLED - status
