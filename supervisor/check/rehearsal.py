"""What a rehearsed start found out, in the child of `check`."""

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

_TOLD = ("group.protocol", HEARTBEAT, POLL, SESSION)


@dataclass(slots=True)
class Rehearsal:
    """One consumer's.

    Attributes:
        facts: What it comes to, by caption.
        errors: Everything that is wrong.
        properties: Its librdkafka properties that others depend on.
        seen: What the broker says; None if it was not asked.
    """

    facts: dict[str, str] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    seen: TopicMetadata | None = None

    def tell(self, config: Mapping[str, Any]) -> None:
        """Keep the properties that others depend on."""
        self.properties = {name: str(config[name]) for name in _TOLD if name in config}


def rehearse(start: Start, broker: Broker | None = None) -> Rehearsal:
    """Do all that a start does but for the network: for `check`.

    Args:
        start: What would be started.
        broker: Asked for the topics too, if it is given.
    """
    found = Rehearsal()
    definition = Definition.resolve(start, found.errors)
    if definition is None:
        return found
    with _kept(found.errors):
        codec_for(definition.model)
    with _kept(found.errors):
        loop = definition.loop()
        found.facts["loop"] = type(loop).__name__
        source = loop.options.source()
        found.facts["topic"], found.facts["group"] = source.topic, loop.options.group
        found.tell(source.config)
        _try_properties(source.config)
        if broker is not None:
            topics = [source.topic, start.consumer.get("dead_letter_topic") or source.topic]
            found.seen = broker.ask(topics, make_client, source.config)
    return found


@contextlib.contextmanager
def _kept(errors: list[BaseException]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator is told
        errors.append(error)


def _try_properties(config: dict[str, Any]) -> None:
    """Let librdkafka look at every property; without a broker's address it connects to nobody."""
    addresses = {"bootstrap.servers", "metadata.broker.list"}
    properties = {name: value for name, value in config.items() if name not in addresses}
    Clients().consumer({**properties, "log_level": 0}, ()).close()
