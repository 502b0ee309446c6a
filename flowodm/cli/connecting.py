"""The options that say where Kafka and the registry are, and first checks of both."""

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
from flowodm.consumer.dead_letters.reader import OffsetRange, TopicReader
from flowodm.consumer.dead_letters.topic import partitions_of
from flowodm.exceptions import ConfigurationError, ConsumerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Producer

ANSWER_TIMEOUT = 10.0
"""Seconds in which a broker has to answer."""
GROUP = "flowodm-command"
"""The ``group.id`` of consumers that join no group and commit nothing."""
_REGISTRY_PREFIX = "schema.registry."
"""Distinguishes the registry client's properties from librdkafka's."""

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
        help="A librdkafka property; with the prefix schema.registry. a property of the registry "
        "client. Other users can see it in the process list: put secrets into --config.",
    ),
]
PropertiesFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="A file with such properties, one NAME=VALUE per line."
    ),
]


def configure_connection(
    servers: str | None = None,
    registry_url: str | None = None,
    properties: Iterable[str] | None = None,
    file: Path | None = None,
) -> None:
    """Set the connection's options from the command line; nothing connects yet.

    Args:
        servers: The option ``--bootstrap-servers``.
        registry_url: The option ``--registry-url``.
        properties: The options ``-X``.
        file: The option ``--config``.

    Raises:
        ConfigurationError: A property is not NAME=VALUE, or the file cannot be read.
    """
    kafka, registry = {}, {}
    parsed = _parsed(_lines(file), str(file)) | _parsed(properties or (), "-X")
    for name, value in parsed.items():
        if name.startswith(_REGISTRY_PREFIX):
            registry[name.removeprefix(_REGISTRY_PREFIX)] = value
        else:
            kafka[name] = value
    # An empty dictionary keeps the properties that the model's module has given to connect().
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
    """Return a reader of a topic.

    Raises:
        ConfigurationError: There is no address of Kafka, or a property is wrong.
    """
    require_address()
    return TopicReader(topic, GROUP, ANSWER_TIMEOUT)


def ranges_of(reader: TopicReader) -> dict[int, OffsetRange]:
    """Return the first and the next offset of each partition.

    Raises:
        UnreachableError: No broker answers within ANSWER_TIMEOUT seconds.
        TopicError: The topic does not exist, or may not be read.
        ConsumerError: Kafka refuses the request.
    """
    try:
        return reader.ranges()
    except ConsumerError as error:
        if status_of(error) is not ExitStatus.UNREACHABLE:
            raise
        raise _unreachable(reader.topic) from error


def require_topic(topic: str, producer: Producer | None = None) -> None:
    """Make sure that Kafka answers, and that the topic exists.

    Args:
        topic: The topic's name.
        producer: The producer that will use the topic. A broker that creates topics on demand
            creates this one.

    Raises:
        UnreachableError: No broker answers within ANSWER_TIMEOUT seconds.
        TopicError: The topic does not exist, or may not be used.
        ConfigurationError: There is no address of Kafka, or a property is wrong.
    """
    if producer is None:
        with reader_of(topic) as reader:
            ranges_of(reader)
        return
    deadline = time.monotonic() + ANSWER_TIMEOUT
    while True:
        try:
            partitions_of(producer, topic)
        except KafkaException as error:
            if time.monotonic() >= deadline:
                raise _unreachable(topic) from error
        else:
            return


def require_address() -> None:
    """Make sure that Kafka's address is set.

    Raises:
        ConfigurationError: It is not set.
    """
    try:
        get_kafka_connection().consumer_config(GROUP)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; for this command: --bootstrap-servers") from None


def _unreachable(topic: str) -> UnreachableError:
    return UnreachableError(f"topic {topic}: no answer from Kafka within {ANSWER_TIMEOUT:g} s")


def require_registry() -> None:
    """Make sure that the registry's address is set.

    Raises:
        ConfigurationError: It is not set.
    """
    if get_kafka_connection().registry is None:
        raise ConfigurationError(
            "no schema registry: set SCHEMA_REGISTRY_URL, or give --registry-url"
        )


class LastClientMessage(logging.Handler):
    """Keeps librdkafka's last log message, the only place where it says why it cannot connect.

    Attributes:
        text: The message; empty if there was none.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, without the names of threads and handles."""
        self.text = re.sub(r"^\w+ (\[[^]]*\] ?)+:? *", "", record.getMessage())


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{file} cannot be read: {reason}") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _parsed(lines: Iterable[str], source: str) -> dict[str, str]:
    properties = {}
    for number, line in enumerate(lines, 1):
        name, separator, value = line.partition("=")
        if not separator or not name.strip():
            # Without the line's text, which may be a secret.
            raise ConfigurationError(f"{source}, property {number}: must be NAME=VALUE")
        properties[name.strip()] = value.strip()
    return properties
