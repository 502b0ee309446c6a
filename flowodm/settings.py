"""Settings profiles: named sets of consumer time-outs and fetch sizes.

A profile is a dataclass. Override single values by argument, or write a profile of your own
as a subclass; it needs no decorator::

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

# KIP-848: with group.protocol=consumer these belong to the broker's group configuration, and
# librdkafka refuses to make a consumer that sets one of them.
BROKER_SIDE_PROPERTIES = (
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "partition.assignment.strategy",
)

_MOST_IN_FLIGHT = 5  # what librdkafka allows an idempotent producer

# The ranges that librdkafka's CONFIGURATION.md gives for the property of each field.
_MILLISECONDS = {
    "session_timeout_ms": 3_600_000,
    "heartbeat_interval_ms": 3_600_000,
    "max_poll_interval_ms": 86_400_000,
}


@dataclass
class BaseSettings:
    """What a consumer needs to know besides its topic and group.

    Attributes:
        session_timeout_ms: Milliseconds without a heartbeat after which the broker removes the
            member (librdkafka ``session.timeout.ms``). Classic groups only: under KIP-848 it is
            the broker's ``group.consumer.session.timeout.ms`` and is not sent.
        heartbeat_interval_ms: Milliseconds between heartbeats; a third of the session time-out
            leaves room for two lost ones. Classic groups only, as above.
        max_poll_interval_ms: Milliseconds that may pass between two polls before the member
            leaves its group. At least ``session_timeout_ms`` in classic groups.
        max_poll_records: How many records one fetch of a loop hands over at most. It is no
            librdkafka property; the loop itself keeps to it.
        auto_offset_reset: Where a group without a committed offset starts: ``earliest``,
            ``latest``, or ``error``.
        enable_auto_commit: Let librdkafka commit in the background. Consumers that you poll
            yourself only: loops and ``consume_one`` commit what they know to be settled, and
            turn it off.
        extra_config: librdkafka properties that win over the fields above. A
            ``session.timeout.ms`` here also lowers ``heartbeat_interval_ms`` to a third of it.
    """

    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 15_000
    max_poll_interval_ms: int = 300_000
    max_poll_records: int = 500
    auto_offset_reset: str = "earliest"
    enable_auto_commit: bool = False
    extra_config: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold secrets

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make every subclass a dataclass whose plain class attributes are field defaults.

        Without this, ``session_timeout_ms = 1000`` in an undecorated subclass, or in a
        decorated one without an annotation, would be shadowed by the inherited default.
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
        # A factory is no class attribute afterwards, but the decorator may come once more.
        for name, own in factories.items():
            if name not in cls.__dict__:
                setattr(cls, name, own)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check the values, alone and against each other.

        Raises:
            SettingsError: A value is out of librdkafka's range, or two contradict each other;
                the message names the fields and their values.
        """
        for name, highest in _MILLISECONDS.items():
            self._check_range(name, highest)
        self._check_range("max_poll_records", 1_000_000)  # the limit of Consumer.consume()
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
                f"{type(self).__name__}: {name}={value!r} must be an int from 1 to {highest}"
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
        """A property under the name that it was set by: a field's, or Kafka's own."""
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
        """A third of the session where only that one was set anew by its Kafka name."""
        given = self.extra_config.get("session.timeout.ms")
        if given is None or not str(given).isdecimal():
            return self.heartbeat_interval_ms
        return max(1, min(self.heartbeat_interval_ms, int(given) // 3))

    def to_consumer_config(self) -> dict[str, Any]:
        """The librdkafka properties of this profile for a consumer.

        Raises:
            SettingsError: See :meth:`validate`; values may have changed since the start.
        """
        return self.merged_into({})

    def merged_into(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Lay this profile over more general properties, by the rules of the group protocol.

        Args:
            config: Properties of every consumer of the program; this profile wins over them.

        Raises:
            SettingsError: See :meth:`validate`; or ``extra_config`` sets both
                ``group.protocol=consumer`` and a property which that leaves to the broker.
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
        """The librdkafka properties that suit this profile for a producer.

        Always idempotent: a retry without idempotence duplicates and reorders records.
        ``extra_config`` wins; librdkafka ignores the consumer's properties in it and says so.
        """
        return {**self._producer_properties(), **self.extra_config}

    def _producer_properties(self) -> dict[str, Any]:
        return {"enable.idempotence": True, "acks": "all"}


def uses_consumer_protocol(config: Mapping[str, Any]) -> bool:
    """Tell whether these librdkafka properties ask for the group protocol of KIP-848."""
    return str(config.get("group.protocol", "classic")).lower() == "consumer"


def producer_defaults(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a producer gets beside the properties that somebody has set.

    It is idempotent, unless a property is set that librdkafka does not take together with that
    (its CONFIGURATION.md lists them under ``enable.idempotence``). As in Kafka's own client
    (KIP-679), such a property then wins; who asks for idempotence by name is told of the conflict
    by librdkafka.

    Args:
        said: The properties that are set.
    """
    acks = said.get("acks", said.get("request.required.acks", "all"))
    retries = said.get("retries", said.get("message.send.max.retries", 1))
    in_flight = str(said.get("max.in.flight.requests.per.connection", said.get("max.in.flight")))
    forbidden = (
        str(acks) not in {"all", "-1"}
        or str(retries) == "0"
        or (in_flight.isdigit() and int(in_flight) > _MOST_IN_FLIGHT)
        or said.get("queuing.strategy", "fifo") != "fifo"
    )
    return {"enable.idempotence": not forbidden, **({} if forbidden else {"acks": "all"})}


@dataclass
class LongRunningSettings(BaseSettings):
    """For handlers that take minutes: inference, reports, slow partners. The loops' default."""

    session_timeout_ms: int = 300_000
    heartbeat_interval_ms: int = 60_000
    max_poll_interval_ms: int = 600_000
    max_poll_records: int = 100


@dataclass
class BatchSettings(BaseSettings):
    """For steady work through many records, such as loading a warehouse."""


@dataclass
class RealTimeSettings(BaseSettings):
    """For short handlers where only what happens from now on counts."""

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
    """For large volumes where a few milliseconds of delay buy larger batches."""

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
    """For records that must not be lost: patient with the broker, never with auto-commit."""

    session_timeout_ms: int = 60_000
    heartbeat_interval_ms: int = 20_000
    max_poll_records: int = 100

    def _producer_properties(self) -> dict[str, Any]:
        # One request in flight: strict order even where a broker's idempotence state is lost.
        return {**super()._producer_properties(), "max.in.flight.requests.per.connection": 1}
