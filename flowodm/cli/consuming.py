"""The command consume: print a topic's records as JSON lines."""

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
    configure_connection,
    ranges_of,
    reader_of,
)
from flowodm.cli.process import STATUSES, ExitStatus
from flowodm.cli.records import LineError, text_of, value_of
from flowodm.cli.references import ModelReference, model_of
from flowodm.cli.starting import MEANINGS, parse_from, start_offsets
from flowodm.cli.terminal import complain, counted, json_text, say, show_json
from flowodm.consumer.dead_letters.reader import OffsetRange
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
        typer.Option("--from", metavar="WHERE", parser=_start, help=f"Where to start: {MEANINGS}"),
    ] = "earliest",
    most: Annotated[
        int | None,
        typer.Option("--max", "-n", metavar="NUMBER", min=0, help="Stop after this many records."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for new records until Ctrl-C.")
    ] = False,
    partition: Annotated[
        list[int] | None,
        typer.Option(metavar="NUMBER", help="Read only this partition; may be repeated."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Read this topic instead of the model's.")
    ] = None,
    envelope: Annotated[
        bool, typer.Option("--envelope", help="Print each record with its key, headers and place.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print plain JSON lines on a terminal too.")
    ] = False,
    servers: Servers = None,
    registry_url: RegistryUrl = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Print a model's records as JSON, one per line.

    It reads the model's topic up to the end that the topic has now, and with --follow beyond
    that. It joins no group and commits nothing, so it disturbs no consumer. Records are in order
    within each partition.

    A record that is not a message of the model is reported on stderr and skipped; the exit status
    is then 1. Tombstones are printed only with --envelope, with a value of null.
    """
    cls = model_of(model)
    configure_connection(servers, registry_url, properties, file=config)
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
    extents = ranges_of(reader)
    missing = sorted(set(partitions or ()) - extents.keys())
    if missing:
        raise ConfigurationError(
            f"topic {reader.topic} has no partition {missing[0]}: it has {len(extents)}, "
            "numbered from 0"
        )
    chosen = partitions or extents.keys()
    ranges = {n: (extents[n].first, extents[n].end) for n in sorted(chosen)}
    offsets = start_offsets(start, ranges, lambda moment: reader.offsets_at(moment, ranges))
    if follow:
        batches = reader.follow(offsets)
    else:
        batches = reader.read(
            {n: OffsetRange(offset, ranges[n][1]) for n, offset in offsets.items()}
        )
    return chain.from_iterable(batches)


class _Printer:
    """Prints records of one model, and counts those that it does not print."""

    def __init__(self, model: type[FlowBaseModel], *, envelope: bool, plain: bool) -> None:
        self._codec = codec_for(model)
        self._envelope = envelope
        self._plain = plain
        self._unreadable = 0
        self._tombstones = 0

    def print(self, records: Iterator[Message], most: int | None) -> None:
        """Print the records.

        Args:
            records: The records.
            most: The number of records to print at most; None: all of them.
        """
        printed = 0
        while most is None or printed < most:
            record = next(records, None)
            if record is None:
                return
            printed += self._print(record)

    def end(self) -> None:
        """Report the records that were not printed.

        Raises:
            Exit: Some records are unreadable.
        """
        if self._tombstones:
            say(f"{counted(self._tombstones, 'tombstone')} skipped: see --envelope", "dim")
        if self._unreadable:
            complain(f"{counted(self._unreadable, 'record')} could not be read")
            raise typer.Exit(ExitStatus.NO)

    def _print(self, record: Message) -> bool:
        """Print a record; False if it is a tombstone or unreadable."""
        data = record.value()
        if data is None and not self._envelope:
            self._tombstones += 1
            return False
        try:
            value = None if data is None else value_of(self._decoded(data))
        except (DeserializationError, LineError) as error:
            place = f"partition {record.partition()}, offset {record.offset()}"
            complain(f"topic {record.topic()}, {place}: {error}")
            self._unreadable += 1
            return False
        shown = self._enveloped(record, value) if self._envelope else value
        show_json(json_text(shown), plain=self._plain)
        return True

    def _decoded(self, data: bytes) -> FlowBaseModel:
        try:
            return self._codec.decode(data)
        except SchemaNotLoadedError as missing:
            self._codec.load_schema(missing.schema_id)
        return self._codec.decode(data)

    def _enveloped(self, record: Message, value: Any) -> dict[str, Any]:
        data = record.value()
        framed = self._codec.framed and isinstance(data, bytes)
        return {
            "topic": record.topic(),
            "partition": record.partition(),
            "offset": record.offset(),
            "timestamp": _timestamp(record),
            "key": text_of(record.key()),
            "headers": [[name, text_of(value)] for name, value in headers_of(record)],
            "schema_id": wire.schema_id_of(data) if framed and data else None,
            "value": value,
        }


def _timestamp(record: Message) -> str | None:
    kind, milliseconds = record.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE:
        return None
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds")
