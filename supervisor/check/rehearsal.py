"""A start without the network, and what it shows; in the child of `check`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowodm.connection.clients import Clients
from flowodm.serialization.codecs import codec_for
from supervisor.check.timeouts import HEARTBEAT, POLL, SESSION
from supervisor.worker.definition import Definition, make_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supervisor.config.topic_size import TopicMetadata
    from supervisor.protocol import Start
    from supervisor.worker.topic_metadata import Broker

_PROPERTIES = ("group.protocol", HEARTBEAT, POLL, SESSION)
"""librdkafka properties that time-outs of the configuration are compared with."""


@dataclass(slots=True)
class Rehearsal:
    """What the rehearsed start of one consumer has shown.

    Attributes:
        facts: What the consumer does, by caption.
        errors: Everything that is wrong.
        properties: Its librdkafka properties of `_PROPERTIES`.
        topics: The broker's answer about its topics; None if it was not asked.
    """

    facts: dict[str, str] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    topics: TopicMetadata | None = None

    def keep_properties(self, config: Mapping[str, Any]) -> None:
        """Keep the properties that time-outs are compared with."""
        self.properties = {name: str(config[name]) for name in _PROPERTIES if name in config}


def rehearse(start: Start, broker: Broker | None = None) -> Rehearsal:
    """Do all that a start does, except to connect.

    Args:
        start: What would be started.
        broker: A broker to ask for the topics as well; None asks nobody.
    """
    rehearsal = Rehearsal()
    definition = Definition.resolve(start, rehearsal.errors)
    if definition is None:
        return rehearsal
    with _collected(rehearsal.errors):
        codec_for(definition.model)
    with _collected(rehearsal.errors):
        loop = definition.loop()
        rehearsal.facts["loop"] = type(loop).__name__
        source = loop.consumer_source()
        rehearsal.facts["topic"] = source.topic
        rehearsal.facts["group"] = source.config["group.id"]
        rehearsal.keep_properties(source.config)
        _try_properties(source.config)
        if broker is not None:
            topics = [source.topic, start.consumer.get("dead_letter_topic") or source.topic]
            rehearsal.topics = broker.ask(topics, make_client, source.config)
    return rehearsal


@contextlib.contextmanager
def _collected(errors: list[BaseException]) -> Iterator[None]:
    """Add what is raised to the errors."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the operator is told of any error
        errors.append(error)


def _try_properties(config: dict[str, Any]) -> None:
    """Let librdkafka validate every property; without a broker's address it connects nowhere."""
    addresses = {"bootstrap.servers", "metadata.broker.list"}
    properties = {name: value for name, value in config.items() if name not in addresses}
    Clients().consumer({**properties, "log_level": 0}, ()).close()
