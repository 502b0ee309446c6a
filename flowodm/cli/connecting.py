"""Where Kafka and the registry are: the options of every command that talks to them."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from confluent_kafka import KafkaException

from flowodm.cli.outcome import UnreachableError, status_of
from flowodm.cli.process import ExitStatus
from flowodm.connection import connect, get_kafka_connection
from flowodm.consumer.dead_letters.reader import Extent, TopicReader
from flowodm.consumer.dead_letters.topic import partitions_of
from flowodm.exceptions import ConfigurationError, ConsumerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Producer

PATIENCE = 10.0
"""Seconds in which a broker has to answer."""
GROUP = "flowodm-command"
"""What Kafka is told where it wants a group's name; nobody joins it and nothing is committed."""
_OF_REGISTRY = "schema.registry."

Servers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        "-b",
        metavar="HOST:PORT,...",
        help="Kafka's addresses; by default $KAFKA_BOOTSTRAP_SERVERS.",
    ),
]
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry-url",
        metavar="URL",
        help="The schema registry's address; by default $SCHEMA_REGISTRY_URL.",
    ),
]
Properties = Annotated[
    list[str] | None,
    typer.Option(
        "-X",
        metavar="NAME=VALUE",
        help="A property of librdkafka, or with schema.registry. in front one of the registry's "
        "client. Others can see it in the list of processes: secrets belong into --config.",
    ),
]
PropertiesFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The same from a file, a NAME=VALUE on each line."
    ),
]


def connected(
    servers: str | None = None,
    registry_url: str | None = None,
    properties: Iterable[str] | None = None,
    file: Path | None = None,
) -> None:
    """Say where Kafka and the registry are, as the command line does; nothing connects yet.

    Raises:
        ConfigurationError: A property is no NAME=VALUE, or the file cannot be read.
    """
    found = _parsed(_lines(file), str(file)) | _parsed(properties or (), "-X")
    kafka = {name: v for name, v in found.items() if not name.startswith(_OF_REGISTRY)}
    registry = {
        name.removeprefix(_OF_REGISTRY): value
        for name, value in found.items()
        if name.startswith(_OF_REGISTRY)
    }
    # The module of the model may have called connect() with properties of its own: where none
    # are given here, those stay.
    if servers:
        kafka.pop("bootstrap.servers", None)
    if registry_url:
        registry.pop("url", None)
    connect(
        bootstrap_servers=servers,
        schema_registry_url=registry_url,
        producer_config=kafka,
        consumer_config=kafka,
        schema_registry_config=registry,
    )


def reader_of(topic: str) -> TopicReader:
    """What reads a topic here.

    Raises:
        ConfigurationError: There is no address of a Kafka, or a property is wrong.
    """
    require_address()
    return TopicReader(topic, GROUP, PATIENCE)


def extents_of(reader: TopicReader) -> dict[int, Extent]:
    """What each partition holds now.

    Raises:
        UnreachableError: No broker answers within PATIENCE seconds.
        TopicError: The topic does not exist, or may not be read.
        ConsumerError: Kafka refuses.
    """
    try:
        return reader.extents()
    except ConsumerError as error:
        if status_of(error) is not ExitStatus.UNREACHABLE:
            raise
        raise _unreachable(reader.topic) from error


def require_topic(topic: str, producer: Producer | None = None) -> None:
    """Make sure that Kafka answers, and that the topic is there.

    Args:
        topic: Its name.
        producer: Who is going to use it, so that a broker that makes topics on demand does.

    Raises:
        UnreachableError: No broker answers within PATIENCE seconds.
        TopicError: The topic does not exist, or may not be used.
        ConfigurationError: There is no address of a Kafka, or a property is wrong.
    """
    if producer is None:
        with reader_of(topic) as reader:
            extents_of(reader)
        return
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            partitions_of(producer, topic)
        except KafkaException as error:
            if time.monotonic() >= deadline:
                raise _unreachable(topic) from error
        else:
            return


def require_address() -> None:
    """Make sure that there is the address of a Kafka.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        get_kafka_connection().consumer_config(GROUP)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; here: --bootstrap-servers") from None


def _unreachable(topic: str) -> UnreachableError:
    return UnreachableError(f"topic {topic}: no answer from Kafka within {PATIENCE:g} s")


def require_registry() -> None:
    """Make sure that there is the address of a registry.

    Raises:
        ConfigurationError: There is none.
    """
    if get_kafka_connection().registry is None:
        raise ConfigurationError(
            "no schema registry: set SCHEMA_REGISTRY_URL, or give --registry-url"
        )


class LastWords(logging.Handler):
    """Keeps what librdkafka said last; it says there, and only there, why it cannot connect."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text without the names of threads and handles."""
        self.text = re.sub(r"^\w+ (\[[^]]*\] ?)+:? *", "", record.getMessage())


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{file} cannot be read: {why}") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _parsed(lines: Iterable[str], source: str) -> dict[str, str]:
    found = {}
    for number, line in enumerate(lines, 1):
        name, separator, value = line.partition("=")
        if not separator or not name.strip():
            # Not the line itself: it may be a secret.
            raise ConfigurationError(f"{source}, no. {number}: write NAME=VALUE")
        found[name.strip()] = value.strip()
    return found
