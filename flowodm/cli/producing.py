"""The command produce: JSON lines in, typed records out."""

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
    connected,
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
"""Seconds without any answer after which the rest counts as not delivered."""
_LOOK = 0.2
_MOST_TOLD = 100


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=STATUSES)(produce)


def produce(
    model: ModelReference,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="JSON lines; - is standard input.")
    ] = "-",
    envelope: Annotated[
        bool,
        typer.Option("--envelope", help="Lines are as consume --envelope prints them."),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", "-k", help="Pass over lines that are no messages.")
    ] = False,
    as_json: AsJson = False,
    servers: Servers = None,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Send a record for each line of JSON.

    It goes to the model's topic. A line holds the fields of a message, and is validated as one.
    With --envelope it is an object with "value", and "key" and "headers" if you like; a value of
    null makes a tombstone. The place that it came from counts for nothing.

    It ends when the broker has acknowledged all. The first line that is no message ends it;
    what was sent before stays sent. With --keep-going such lines are passed over, and the exit
    status is 1 in the end.
    """
    cls = model_of(model)
    connected(servers, registry_url, properties, config)
    sending = _Sending(cls, envelope=envelope)
    with ExitStack() as opened:
        lines = _opened(file, opened)
        require_address()
        require_topic(settings_of(cls).topic, cls.get_producer())
        codec_for(cls).prepare()
        try:
            sending.send(lines, keep_going=keep_going)
        except KeyboardInterrupt:  # what was read is on its way, and is told of
            sending.trouble = ExitStatus.INTERRUPTED
        finally:
            sending.wait()
    _tell(sending, settings_of(cls).topic, as_json)


def _opened(file: str, opened: ExitStack) -> BinaryIO:
    if file != "-":
        try:
            return opened.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    if sys.stdin.isatty():
        say("A line of JSON for each record; Ctrl-D ends it.", "dim")
    return sys.stdin.buffer


def _tell(sending: _Sending, topic: str, as_json: bool) -> None:
    failures = sorted(sending.failures.items())
    for number, why in failures[:_MOST_TOLD]:
        complain(f"line {number}: {why}")
    if len(failures) > _MOST_TOLD:
        complain(f"and {len(failures) - _MOST_TOLD} more lines")
    if as_json:
        wrong = [{"line": number, "error": why} for number, why in failures]
        answer({"topic": topic, "produced": sending.delivered, "failed": wrong})
    else:
        say(f"{counted(sending.delivered, 'record')} produced to {topic}")
    if sending.trouble:
        raise typer.Exit(sending.trouble)
    if failures:
        raise typer.Exit(ExitStatus.NO)


class _Sending:
    """Sends lines, and keeps what became of each.

    Args:
        model: The class of the messages.
        envelope: Whether lines are envelopes.

    Attributes:
        delivered: Records that the broker has acknowledged.
        failures: Line to reason.
        trouble: What it came to that is no line's own fault; DONE is none.
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
        """Send all of them, up to the first that fails unless told to keep going."""
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            try:
                self._send(number, parse(text, self._model, envelope=self._envelope))
            except (LineError, SerializationError) as error:
                self.failures[number] = str(error)
            except FlowODMError as error:
                self._failed(number, error)
            if self.trouble or (self.failures and not keep_going):
                return

    def wait(self) -> None:
        """Wait for the broker's answers, as long as some come."""
        producer = self._model.get_producer()
        left, deadline = len(self._waiting), time.monotonic() + ANSWER_TIMEOUT
        while left and time.monotonic() < deadline:
            producer.flush(_LOOK)
            now = len(self._waiting)
            if now < left:
                left, deadline = now, time.monotonic() + ANSWER_TIMEOUT
        with self._lock:
            lost, self._waiting = self._waiting, set()
        if lost:
            producer.purge()  # else leaving waits for them once more
            self.trouble = ExitStatus.UNREACHABLE
            why = f"not acknowledged within {ANSWER_TIMEOUT:g} s; it may still arrive"
            self.failures |= dict.fromkeys(lost, why)

    def _send(self, number: int, line: Line) -> None:
        self._waiting.add(number)
        told = partial(self._answered, number)
        try:
            if line.message is None:
                self._send_tombstone(line, told)
            else:
                line.message.produce_nowait(told, key=line.key, headers=list(line.headers) or None)
        except BaseException:
            self._waiting.discard(number)
            raise

    def _send_tombstone(self, line: Line, told: Any) -> None:
        topic = settings_of(self._model).topic
        record = {"topic": topic, "value": None, "key": line.key, "headers": list(line.headers)}
        deadline = time.monotonic() + QUEUE_TIMEOUT
        enqueue(self._model.get_producer(), Delivery(topic, told), record, deadline)

    def _answered(self, number: int, error: KafkaError | None, message: Message) -> None:
        """Called from the thread that polls the producer."""
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
                self._failed(number, failure)

    def _failed(self, number: int, error: FlowODMError) -> None:
        self.failures[number] = str(error)
        self.trouble = self.trouble or status_of(error)
