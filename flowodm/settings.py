"""Settings profiles: named sets of consumer time-outs and fetch sizes.

A profile is a dataclass. Override single values by argument, or write a subclass with values of
your own, which needs no decorator::

    class Patient(LongRunningSettings):
        max_poll_interval_ms = 1_800_000
"""

from __future__ import annotations

import inspect
from dataclasses import Field, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from flowodm.exceptions import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

BROKER_SIDE_PROPERTIES = (
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "partition.assignment.strategy",
)
"""Properties that belong to the broker with group.protocol=consumer (KIP-848).

librdkafka refuses to make a consumer of that protocol that sets one of them.
"""

_MAX_IN_FLIGHT = 5
"""The requests in flight that librdkafka allows an idempotent producer."""

_MAXIMA = {
    "session_timeout_ms": 3_600_000,
    "heartbeat_interval_ms": 3_600_000,
    "max_poll_interval_ms": 86_400_000,
    "max_poll_records": 1_000_000,
}
"""The largest values: those of librdkafka's CONFIGURATION.md, and of Consumer.consume()."""


@dataclass
class BaseSettings:
    """For consumers without special needs.

    It is the base class of all profiles. docs/tables.py makes tables of the profiles and of the
    fields, from the strings below them.
    """

    session_timeout_ms: int = 45_000
    """Milliseconds without a heartbeat after which the broker removes the member
    (``session.timeout.ms``). Classic groups only: under KIP-848 the broker's
    ``group.consumer.session.timeout.ms`` counts, and this is not sent."""
    heartbeat_interval_ms: int = 15_000
    """Milliseconds between two heartbeats (``heartbeat.interval.ms``). A third of the session
    time-out leaves room for two lost heartbeats. Classic groups only, as above."""
    max_poll_interval_ms: int = 300_000
    """Milliseconds between two polls after which the member leaves its group
    (``max.poll.interval.ms``). At least ``session_timeout_ms`` in classic groups."""
    max_poll_records: int = 500
    """Records that one fetch of a loop returns at most. It is not a librdkafka property: the loop
    itself applies it."""
    auto_offset_reset: str = "earliest"
    """Where a group without a committed offset starts: "earliest", "latest" or "error"
    (``auto.offset.reset``)."""
    enable_auto_commit: bool = False
    """Whether librdkafka commits in the background (``enable.auto.commit``). Only for consumers
    that your code polls itself: loops and ``consume_one`` turn it off, and commit the messages
    that are settled."""
    extra_config: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold secrets
    """librdkafka properties that win over the fields above. A ``session.timeout.ms`` here also
    lowers ``heartbeat_interval_ms`` to a third of it."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make every subclass a dataclass whose class attributes are the defaults of its fields.

        Without this the inherited default would win over ``session_timeout_ms = 1000`` in a
        subclass that has no decorator or no annotation.
        """
        super().__init_subclass__(**kwargs)
        annotations = inspect.get_annotations(cls)
        for name, inherited in cls.__dataclass_fields__.items():
            if name not in cls.__dict__:
                continue
            annotations.setdefault(name, inherited.type)
            value = cls.__dict__[name]
            if isinstance(value, Field):
                value.repr = value.repr and inherited.repr
            elif isinstance(value, dict):
                copied: Any = field(default_factory=partial(dict, value), repr=inherited.repr)
                setattr(cls, name, copied)
        cls.__annotations__ = annotations
        factories = {n: v for n, v in cls.__dict__.items() if isinstance(v, Field)}
        dataclass(cls)
        # dataclass() removes a field with a factory from the class, but may be applied once more.
        for name, factory in factories.items():
            if name not in cls.__dict__:
                setattr(cls, name, factory)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check each value, and the values against each other.

        Raises:
            SettingsError: A value is out of librdkafka's range, or two values contradict each
                other; the text names the fields and their values.
        """
        for name, highest in _MAXIMA.items():
            self._check_range(name, highest)
        if self.auto_offset_reset not in {"earliest", "latest", "error"}:
            raise SettingsError(
                f"{type(self).__name__}: auto_offset_reset={self.auto_offset_reset!r} "
                "must be 'earliest', 'latest' or 'error'"
            )
        if not uses_consumer_protocol(self.extra_config):
            self._check_session()

    def _check_range(self, name: str, highest: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= highest:
            raise SettingsError(
                f"{type(self).__name__}: {name}={value!r} must be an integer from 1 to {highest}"
            )

    def _check_session(self) -> None:
        session = self._milliseconds("session.timeout.ms")
        heartbeat = self._milliseconds("heartbeat.interval.ms")
        poll = self._milliseconds("max.poll.interval.ms")
        named = self._as_written("session.timeout.ms", session)
        if heartbeat >= session:
            written = self._as_written("heartbeat.interval.ms", heartbeat)
            raise SettingsError(
                f"{type(self).__name__}: {written} must be below {named}, or the member is "
                "removed between two heartbeats"
            )
        if poll < session:
            written = self._as_written("max.poll.interval.ms", poll)
            raise SettingsError(
                f"{type(self).__name__}: {written} must be at least {named} (librdkafka's rule "
                "for classic groups); set both, or neither"
            )

    def _as_written(self, name: str, value: int) -> str:
        """Return a property and its value under the name by which it was set."""
        written = f'"{name}"' if name in self.extra_config else name.replace(".", "_")
        return f"{written}={value}"

    def _milliseconds(self, name: str) -> int:
        value = self._properties()[name]
        try:
            return int(value)
        except (TypeError, ValueError):
            raise SettingsError(
                f"{type(self).__name__}: extra_config[{name!r}]={value!r} must be milliseconds"
            ) from None

    def _properties(self) -> dict[str, Any]:
        return {
            "session.timeout.ms": self.session_timeout_ms,
            "heartbeat.interval.ms": self._heartbeat(),
            "max.poll.interval.ms": self.max_poll_interval_ms,
            "auto.offset.reset": self.auto_offset_reset,
            "enable.auto.commit": self.enable_auto_commit,
            **self.extra_config,
        }

    def _heartbeat(self) -> int:
        """Return the heartbeat interval: at most a third of a session time-out in extra_config."""
        session = self.extra_config.get("session.timeout.ms")
        if session is None or not str(session).isdecimal():
            return self.heartbeat_interval_ms
        return max(1, min(self.heartbeat_interval_ms, int(session) // 3))

    def to_consumer_config(self) -> dict[str, Any]:
        """Return this profile as librdkafka properties for a consumer.

        Raises:
            SettingsError: See :meth:`validate`; values may have changed since the last check.
        """
        return self.merged_into({})

    def merged_into(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Merge this profile into more general properties, by the rules of the group protocol.

        Args:
            config: The properties of all consumers of the program; this profile wins over them.

        Raises:
            SettingsError: See :meth:`validate`. Or ``extra_config`` has ``group.protocol=consumer``
                together with a property that this protocol leaves to the broker.
        """
        self.validate()
        merged = {**config, **self._properties()}
        if uses_consumer_protocol(merged):
            for name in BROKER_SIDE_PROPERTIES:
                if name in self.extra_config:
                    raise SettingsError(
                        f"{type(self).__name__}: extra_config sets {name}, which belongs to the "
                        "broker under group.protocol=consumer (KIP-848); remove one of the two"
                    )
                merged.pop(name, None)
        return merged

    def to_producer_config(self) -> dict[str, Any]:
        """Return librdkafka properties for a producer that suit this profile.

        They are always idempotent: retries without idempotence duplicate and reorder records.
        ``extra_config`` wins; librdkafka ignores consumer properties in it, and logs that.
        """
        return {**self._producer_properties(), **self.extra_config}

    def _producer_properties(self) -> dict[str, Any]:
        return {"enable.idempotence": True, "acks": "all"}


def uses_consumer_protocol(config: Mapping[str, Any]) -> bool:
    """Tell whether these librdkafka properties select the group protocol of KIP-848."""
    return str(config.get("group.protocol", "classic")).lower() == "consumer"


def producer_defaults(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults for a producer with these properties.

    The producer is idempotent, unless a property excludes that (librdkafka's CONFIGURATION.md
    lists them under ``enable.idempotence``). Such a property wins, as in Kafka's own client
    (KIP-679). If the program sets ``enable.idempotence`` too, librdkafka reports the conflict.

    Args:
        properties: The properties that the program sets.
    """
    if _excludes_idempotence(properties):
        return {"enable.idempotence": False}
    return {"enable.idempotence": True, "acks": "all"}


def _excludes_idempotence(properties: Mapping[str, Any]) -> bool:
    acks = properties.get("acks", properties.get("request.required.acks", "all"))
    retries = properties.get("retries", properties.get("message.send.max.retries", 1))
    in_flight = properties.get(
        "max.in.flight.requests.per.connection", properties.get("max.in.flight", "")
    )
    return (
        str(acks) not in {"all", "-1"}
        or str(retries) == "0"
        or (str(in_flight).isdigit() and int(in_flight) > _MAX_IN_FLIGHT)
        or properties.get("queuing.strategy", "fifo") != "fifo"
    )


@dataclass
class LongRunningSettings(BaseSettings):
    """For handlers that take minutes, such as inference or reports. The default of loops."""

    session_timeout_ms: int = 300_000
    heartbeat_interval_ms: int = 60_000
    max_poll_interval_ms: int = 600_000
    max_poll_records: int = 100


@dataclass
class BatchSettings(BaseSettings):
    """For steady work through many records, such as loading a data warehouse."""


@dataclass
class RealTimeSettings(BaseSettings):
    """For short handlers that need only new records."""

    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    max_poll_interval_ms: int = 30_000
    max_poll_records: int = 10
    auto_offset_reset: str = "latest"
    enable_auto_commit: bool = True

    def _producer_properties(self) -> dict[str, Any]:
        return {**super()._producer_properties(), "linger.ms": 0}


@dataclass
class HighThroughputSettings(BaseSettings):
    """For large volumes, where larger batches are worth a few milliseconds of delay."""

    max_poll_records: int = 1_000
    auto_offset_reset: str = "latest"
    enable_auto_commit: bool = True

    def _producer_properties(self) -> dict[str, Any]:
        return {
            **super()._producer_properties(),
            "linger.ms": 10,
            "batch.size": 1_000_000,
            "compression.type": "lz4",
        }


@dataclass
class ReliableSettings(BaseSettings):
    """For records that must not be lost."""

    session_timeout_ms: int = 60_000
    heartbeat_interval_ms: int = 20_000
    max_poll_records: int = 100

    def _producer_properties(self) -> dict[str, Any]:
        # One request in flight keeps the order even if a broker loses its idempotence state.
        return {**super()._producer_properties(), "max.in.flight.requests.per.connection": 1}
