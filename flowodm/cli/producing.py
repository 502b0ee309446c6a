"""The command produce: send JSON lines as records."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from confluent_kafka import KafkaException

from flowodm.cli.connecting import (
    Properties,
    PropertiesFile,
    RegistryUrl,
    Servers,
    configure_connection,
    require_address,
    require_topic,
)
from flowodm.cli.outcome import status_of
from flowodm.cli.process import STATUSES, ExitStatus
from flowodm.cli.records import Line, LineError, parse
from flowodm.cli.references import ModelReference, model_of
from flowodm.cli.terminal import AsJson, answer, complain, counted, say
from flowodm.exceptions import ConfigurationError, FlowODMError, ProducerError, SerializationError
from flowodm.model import FlowBaseModel, settings_of
from flowodm.produce.deliveries import QUEUE_TIMEOUT, Delivery, enqueue
from flowodm.serialization.codecs import codec_for

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

ANSWER_TIMEOUT = 30.0
"""Seconds without an answer after which the remaining records count as not delivered."""
_FLUSH_SLICE = 0.2
"""Seconds between two checks whether answers still come."""
_MOST_REPORTED = 100
"""The number of wrong lines that are listed on stderr."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=STATUSES)(produce)


def produce(
    model: ModelReference,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="A file with JSON lines; - is standard input.")
    ] = "-",
    envelope: Annotated[
        bool,
        typer.Option("--envelope", help="Lines are envelopes, as consume --envelope prints them."),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", "-k", help="Skip lines that are not messages.")
    ] = False,
    as_json: AsJson = False,
    servers: Servers = None,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Produce a record for each line of JSON.

    The records go to the model's topic. A line holds the fields of a message, and is validated as
    one. With --envelope it is an object with "value", and optionally "key" and "headers"; a value
    of null makes a tombstone. Other fields of an envelope, such as the partition, have no effect.

    The command ends when the broker has acknowledged all records. It stops at the first line that
    is not a message; the records of earlier lines stay in the topic. With --keep-going it skips
    such lines, and the exit status is then 1.
    """
    cls = model_of(model)
    configure_connection(servers, registry_url, properties, file=config)
    sending = _Sending(cls, envelope=envelope)
    with ExitStack() as opened:
        lines = _opened(file, opened)
        require_address()
        require_topic(settings_of(cls).topic, cls.get_producer())
        codec_for(cls).prepare()
        try:
            sending.send(lines, keep_going=keep_going)
        except KeyboardInterrupt:  # the records so far are in flight, and reported below
            sending.trouble = ExitStatus.INTERRUPTED
        finally:
            sending.wait()
    _report(sending, settings_of(cls).topic, as_json)


def _opened(file: str, opened: ExitStack) -> BinaryIO:
    if file != "-":
        try:
            return opened.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    if sys.stdin.isatty():
        say("Enter a line of JSON for each record; Ctrl-D ends the input.", "dim")
    return sys.stdin.buffer


def _report(sending: _Sending, topic: str, as_json: bool) -> None:
    failures = sorted(sending.failures.items())
    for number, reason in failures[:_MOST_REPORTED]:
        complain(f"line {number}: {reason}")
    if len(failures) > _MOST_REPORTED:
        complain(f"and {len(failures) - _MOST_REPORTED} more lines")
    if as_json:
        wrong = [{"line": number, "error": reason} for number, reason in failures]
        answer({"topic": topic, "produced": sending.delivered, "failed": wrong})
    else:
        say(f"{counted(sending.delivered, 'record')} produced to {topic}")
    if sending.trouble:
        raise typer.Exit(sending.trouble)
    if failures:
        raise typer.Exit(ExitStatus.NO)


class _Sending:
    """Sends lines as records, and keeps track of their delivery.

    Args:
        model: The class of the messages.
        envelope: Whether lines are envelopes.

    Attributes:
        delivered: The number of records that the broker has acknowledged.
        failures: The number of each failed line, with the reason.
        trouble: The exit status of a failure that is not due to a line; DONE: there is none.
    """

    def __init__(self, model: type[FlowBaseModel], *, envelope: bool) -> None:
        self.delivered = 0
        self.failures: dict[int, str] = {}
        self.trouble = ExitStatus.DONE
        self._model = model
        self._envelope = envelope
        self._waiting: set[int] = set()
        self._lock = threading.Lock()

    def send(self, lines: BinaryIO, *, keep_going: bool) -> None:
        """Send lines; stop at the first that fails, unless ``keep_going``."""
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            try:
                self._send(number, parse(text, self._model, envelope=self._envelope))
            except (LineError, SerializationError) as error:
                self.failures[number] = str(error)
            except FlowODMError as error:
                self._fail(number, error)
            if self.trouble or (self.failures and not keep_going):
                return

    def wait(self) -> None:
        """Wait for the broker's answers until none has come for ANSWER_TIMEOUT seconds."""
        producer = self._model.get_producer()
        remaining, deadline = len(self._waiting), time.monotonic() + ANSWER_TIMEOUT
        while remaining and time.monotonic() < deadline:
            producer.flush(_FLUSH_SLICE)
            now = len(self._waiting)
            if now < remaining:
                remaining, deadline = now, time.monotonic() + ANSWER_TIMEOUT
        with self._lock:
            unanswered, self._waiting = self._waiting, set()
        if unanswered:
            producer.purge()  # or closing the producer would wait for them again
            self.trouble = ExitStatus.UNREACHABLE
            reason = f"not acknowledged within {ANSWER_TIMEOUT:g} s; it may still be delivered"
            self.failures |= dict.fromkeys(unanswered, reason)

    def _send(self, number: int, line: Line) -> None:
        self._waiting.add(number)
        callback = partial(self._answered, number)
        headers = list(line.headers)
        try:
            if line.message is None:
                self._send_tombstone(line, callback)
            else:
                line.message.produce_nowait(callback, key=line.key, headers=headers or None)
        except BaseException:
            self._waiting.discard(number)
            raise

    def _send_tombstone(self, line: Line, callback: Any) -> None:
        topic = settings_of(self._model).topic
        record = {"topic": topic, "value": None, "key": line.key, "headers": list(line.headers)}
        deadline = time.monotonic() + QUEUE_TIMEOUT
        enqueue(self._model.get_producer(), Delivery(topic, callback), record, deadline=deadline)

    def _answered(self, number: int, error: KafkaError | None, message: Message) -> None:
        """Take the broker's answer, in the thread that polls the producer."""
        del message
        with self._lock:
            if number not in self._waiting:
                return
            self._waiting.remove(number)
            if error is None:
                self.delivered += 1
            else:
                failure = ProducerError(f"not delivered: {error.str()}")
                failure.__cause__ = KafkaException(error)
                self._fail(number, failure)

    def _fail(self, number: int, error: FlowODMError) -> None:
        self.failures[number] = str(error)
        self.trouble = self.trouble or status_of(error)
