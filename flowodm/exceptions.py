"""The errors that flowodm raises.

All of them derive from :class:`FlowODMError`. The error of a record names its topic, partition and
offset, so that an operator can find the record.
"""

from __future__ import annotations

import operator

LONGEST_SUMMARY = 2_000
"""The most characters of an error's text in other messages and in the log."""


def summary(error: BaseException) -> str:
    """Return an error's type and text, cut to LONGEST_SUMMARY; never raises."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - the first error is the one that matters
        text = f"(its text cannot be shown: {type(failure).__name__})"
    text = text if len(text) <= LONGEST_SUMMARY else f"{text[:LONGEST_SUMMARY]}…"
    return f"{type(error).__name__}: {text}"


class FlowODMError(Exception):
    """The base class of all errors of this library."""


class ConnectionError(FlowODMError):  # noqa: A001 - the public name is part of the contract
    """Kafka cannot be reached, or refuses the connection."""


class ConfigurationError(FlowODMError):
    """A setting of the program or its environment is missing or wrong."""


class SettingsError(ConfigurationError):
    """The settings of a model or a profile have a wrong value, or contradict each other."""


class SchemaError(FlowODMError):
    """The base class of errors of schemas."""


class SchemaValidationError(SchemaError):
    """A model or a file has no valid Avro schema.

    Attributes:
        errors: The errors one by one, if there are several.
    """

    def __init__(self, message: str, errors: list[str] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []


class SchemaCompatibilityError(SchemaError):
    """A schema is not compatible with the schemas of its subject.

    Attributes:
        compatibility_level: The subject's compatibility level, if it is known.
    """

    def __init__(self, message: str, compatibility_level: str | None = None) -> None:
        super().__init__(message)
        self.compatibility_level = compatibility_level


class SchemaRegistryError(SchemaError):
    """The schema registry refused a request."""


class RegistryUnavailableError(SchemaRegistryError):
    """The schema registry does not answer; the same request may succeed later.

    A consumer loop waits and tries again, as the record itself may be good.
    """


class SerializationError(FlowODMError):
    """A message cannot be written as bytes."""


class DeserializationError(FlowODMError):
    """The value of a record is not a message of the expected model.

    Attributes:
        topic: The record's topic, if it is known.
        partition: The record's partition, if it is known.
        offset: The record's offset, if it is known.
        schema_id: The schema id at the beginning of the value; None for bare Avro.
        field: The dotted path of the first wrong field, if it is known.
    """

    def __init__(
        self,
        message: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        schema_id: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.schema_id = schema_id
        self.field = field

    def __str__(self) -> str:
        """Return the message and, as far as it is known, the place."""
        parts = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "schema id": self.schema_id,
            "field": self.field,
        }
        place = ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)
        return f"{super().__str__()} ({place})" if place else super().__str__()


class ProducerError(FlowODMError):
    """A message was not delivered.

    Attributes:
        failures: The failed ones of several messages: the index of each, from 0, with its error.
            Empty for a single message.
    """

    def __init__(
        self, message: str = "", *, failures: tuple[tuple[int, FlowODMError], ...] = ()
    ) -> None:
        super().__init__(message)
        self.failures = failures


class ConsumerError(FlowODMError):
    """A consumer cannot go on, or cannot commit."""


class FencedError(ConsumerError):
    """Another member with the same ``group.instance.id`` has joined the group (KIP-345)."""


class RecordError(ConsumerError):
    """A record has failed for good, and ``on_failure`` is "stop".

    With after_processing its offset is not committed: the next run starts with this record. The
    handler's exception is the ``__cause__``.

    Attributes:
        topic: The record's topic.
        partition: The record's partition.
        offset: The record's offset.
    """

    def __init__(self, message: str, *, topic: str, partition: int, offset: int) -> None:
        place = f"topic {topic}, partition {partition}, offset {offset}"
        super().__init__(message if place in message else f"{message} ({place})")
        self.topic = topic
        self.partition = partition
        self.offset = offset


class BatchError(FlowODMError):
    """A batch handler raises it: the messages before an index are handled, the one at it failed.

    ``raise BatchError(index) from error`` makes ``error`` the message's failure. The loop then
    treats this message like any single message that failed (retries, dead letter, error handler),
    and calls the handler again with the messages behind it. Any other exception is a failure of
    the whole batch.

    Args:
        index: The index of the message in the handler's list.
        message: The error's text.

    Raises:
        TypeError: The index is not an integer. A bool is refused too: the mistake
            ``BatchError(index == 3)`` would settle messages that were not handled.
    """

    def __init__(self, index: int, message: str = "") -> None:
        if isinstance(index, bool):
            raise TypeError(f"the index of a BatchError must be an integer, got {index}")
        operator.index(index)
        super().__init__(message or f"message {index} of the batch failed")
        self.index = index


class TopicError(FlowODMError):
    """A topic does not exist, or may not be used."""
