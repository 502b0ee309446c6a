"""The command consume: typed records out, as JSON lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

from flowodm.avro import wire
from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.cli.connecting import (
    Properties,
    PropertiesFile,
    RegistryUrl,
    Servers,
    connected,
    extents_of,
    reader_of,
)
from flowodm.cli.process import STATUSES, ExitStatus
from flowodm.cli.records import LineError, text_of, value_of
from flowodm.cli.references import ModelReference, model_of
from flowodm.cli.starting import MEANINGS, beginnings, parse_from
from flowodm.cli.terminal import complain, counted, dumped, say, show_json
from flowodm.consumer.dead_letters.reader import Extent
from flowodm.consumer.handling.context import headers_of
from flowodm.exceptions import ConfigurationError, DeserializationError
from flowodm.model import FlowBaseModel, settings_of
from flowodm.serialization.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Message

    from flowodm.consumer.dead_letters.reader import TopicReader

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=STATUSES)(consume)


def _start(text: str) -> Any:
    try:
        return parse_from(text, datetime.now().astimezone())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def consume(
    model: ModelReference,
    start: Annotated[
        Any,
        typer.Option("--from", metavar="WHERE", parser=_start, help=f"Where to begin: {MEANINGS}"),
    ] = "earliest",
    most: Annotated[
        int | None,
        typer.Option("--max", "-n", metavar="NUMBER", min=0, help="End after so many records."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for new records, until Ctrl-C.")
    ] = False,
    partition: Annotated[
        list[int] | None,
        typer.Option(metavar="NUMBER", help="Only this partition; may be given several times."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Another topic than the model's.")
    ] = None,
    envelope: Annotated[
        bool, typer.Option("--envelope", help="Each with its key, headers and place.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Plain JSON lines on a terminal, too.")
    ] = False,
    servers: Servers = None,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Print a model's records, a line of JSON each.

    They are those of the model's topic. It ends where the topic ended when it began, unless told
    to --follow. It joins no group and commits nothing, so it can be run beside any consumer.
    Records come in order within each partition.

    A record that is no message of the model is reported on stderr and passed over; the exit
    status is 1 then. Tombstones are shown with --envelope, as a value of null.
    """
    cls = model_of(model)
    connected(servers, registry_url, properties, config)
    printer = _Printer(cls, envelope=envelope, plain=as_json)
    try:
        with reader_of(topic or settings_of(cls).topic) as reader:
            printer.print(_records(reader, start, partition, follow=follow), most)
    except KeyboardInterrupt:
        if not follow:
            raise
    printer.end()


def _records(
    reader: TopicReader, start: Any, partitions: list[int] | None, *, follow: bool
) -> Iterator[Message]:
    extents = extents_of(reader)
    missing = sorted(set(partitions or ()) - extents.keys())
    if missing:
        raise ConfigurationError(
            f"topic {reader.topic} has no partition {missing[0]}: it has {len(extents)}, "
            "numbered from 0"
        )
    wanted = {n: (e.first, e.end) for n, e in extents.items() if not partitions or n in partitions}
    first = beginnings(start, wanted, lambda moment: reader.offsets_at(moment, wanted))
    if follow:
        batches = reader.follow(first)
    else:
        batches = reader.read({n: Extent(place, wanted[n][1]) for n, place in first.items()})
    return chain.from_iterable(batches)


class _Printer:
    """Prints records of one model, and counts what it could not print."""

    def __init__(self, model: type[FlowBaseModel], *, envelope: bool, plain: bool) -> None:
        self._codec = codec_for(model)
        self._envelope = envelope
        self._plain = plain
        self._unread = self._tombstones = 0

    def print(self, records: Iterator[Message], most: int | None) -> None:
        """Print so many of them; all if None."""
        printed = 0
        while most is None or printed < most:
            record = next(records, None)
            if record is None:
                return
            printed += self._print(record)

    def end(self) -> None:
        """Tell what was not printed; ends the command if something could not be."""
        if self._tombstones:
            passed_over = counted(self._tombstones, "tombstone")
            say(f"{passed_over} passed over; --envelope shows such", "dim")
        if self._unread:
            complain(f"{counted(self._unread, 'record')} could not be read")
            raise typer.Exit(ExitStatus.NO)

    def _print(self, record: Message) -> bool:
        """Whether it was printed."""
        data = record.value()
        if data is None and not self._envelope:
            self._tombstones += 1
            return False
        try:
            value = None if data is None else value_of(self._decoded(data))
        except (DeserializationError, LineError) as error:
            place = f"partition {record.partition()}, offset {record.offset()}"
            complain(f"topic {record.topic()}, {place}: {error}")
            self._unread += 1
            return False
        said = self._around(record, value) if self._envelope else value
        show_json(dumped(said), plain=self._plain)
        return True

    def _decoded(self, data: bytes) -> FlowBaseModel:
        try:
            return self._codec.decode(data)
        except SchemaNotLoadedError as missing:
            self._codec.load_schema(missing.schema_id)
        return self._codec.decode(data)

    def _around(self, record: Message, value: Any) -> dict[str, Any]:
        kind, milliseconds = record.timestamp()
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
        data = record.value()
        framed = self._codec.framed and isinstance(data, bytes)
        return {
            "topic": record.topic(),
            "partition": record.partition(),
            "offset": record.offset(),
            "timestamp": None
            if kind == TIMESTAMP_NOT_AVAILABLE
            else moment.isoformat(timespec="milliseconds"),
            "key": text_of(record.key()),
            "headers": [[name, text_of(value)] for name, value in headers_of(record)],
            "schema_id": wire.schema_id_of(data) if framed and data else None,
            "value": value,
        }
