"""Every error that flowodm raises on purpose.

All derive from :class:`FlowODMError`. An error that belongs to one record says where that
record is, so that an operator can look at it without searching.
"""

from __future__ import annotations

import operator

LONGEST_SUMMARY = 2_000
"""Characters of an error's text that go into other messages and into the log."""


def summary(error: BaseException) -> str:
    """An error's type and text, cut to LONGEST_SUMMARY; also when it cannot even be shown."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - the first error is the one that matters
        text = f"(its text cannot be shown: {type(broken).__name__})"
    text = text if len(text) <= LONGEST_SUMMARY else f"{text[:LONGEST_SUMMARY]}…"
    return f"{type(error).__name__}: {text}"


class FlowODMError(Exception):
    """The root of all errors of this library."""


class ConnectionError(FlowODMError):  # noqa: A001 - the public name is part of the contract
    """Kafka cannot be reached, or refuses the connection."""


class ConfigurationError(FlowODMError):
    """Something that the program or its environment configures is missing or wrong."""


class SettingsError(ConfigurationError):
    """A settings profile holds values that contradict each other or have no effect."""


class SchemaError(FlowODMError):
    """The root of the errors about schemas."""


class SchemaValidationError(SchemaError):
    """A model or a file has no valid Avro schema.

    Attributes:
        errors: Each fault by itself, where there are several.
    """

    def __init__(self, message: str, errors: list[str] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []


class SchemaCompatibilityError(SchemaError):
    """A schema may not follow the ones that its subject already has.

    Attributes:
        compatibility_level: The subject's rule, where known.
    """

    def __init__(self, message: str, compatibility_level: str | None = None) -> None:
        super().__init__(message)
        self.compatibility_level = compatibility_level


class SchemaRegistryError(SchemaError):
    """The schema registry refused a request."""


class RegistryUnavailableError(SchemaRegistryError):
    """The schema registry does not answer now; the same request may succeed later.

    A consumer loop waits and tries again: this says nothing about the record at hand.
    """


class SerializationError(FlowODMError):
    """A message cannot be turned into bytes."""


class DeserializationError(FlowODMError):
    """The bytes of a record are not a message of the expected model.

    Attributes:
        topic: The record's topic, where known.
        partition: The record's partition, where known.
        offset: The record's offset, where known.
        schema_id: The schema id in the record's header; None for bare Avro.
        field: Dotted path of the first field at fault, where known.
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
        """The message, followed by every part of the place that is known."""
        known = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "schema id": self.schema_id,
            "field": self.field,
        }
        place = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
        return f"{super().__str__()} ({place})" if place else super().__str__()


class ProducerError(FlowODMError):
    """A message was not delivered.

    Attributes:
        failures: Of several messages, those that failed: their places among all, from 0, each
            with its error. Empty for a single message.
    """

    def __init__(
        self, message: str = "", *, failures: tuple[tuple[int, FlowODMError], ...] = ()
    ) -> None:
        super().__init__(message)
        self.failures = failures


class ConsumerError(FlowODMError):
    """A consumer cannot go on."""


class FencedError(ConsumerError):
    """Another member with the same ``group.instance.id`` has taken this one's place (KIP-345)."""


class RecordError(ConsumerError):
    """A record failed for good and the loop was told to stop rather than to skip it.

    With after_processing its offset is not committed: the next run starts with this record. The
    handler's own exception is the ``__cause__``.

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
    """Raised by a batch handler: the messages before an index are done, the one at it failed.

    ``raise BatchError(index) from error`` makes ``error`` the record's failure. The record is
    then treated as a single one that failed (retries, dead letter, error handler); the messages
    behind it come again. Any other exception is a failure of the whole batch.

    Args:
        index: Place in the list that the handler got, from 0.
        message: What went wrong.

    Raises:
        TypeError: The index is no whole number. True and False are none either: a slip such as
            ``BatchError(index == 3)`` would settle messages that nobody has handled.
    """

    def __init__(self, index: int, message: str = "") -> None:
        if isinstance(index, bool):
            raise TypeError(f"the index of a BatchError is a place in the list, not {index}")
        operator.index(index)
        super().__init__(message or f"message {index} of the batch failed")
        self.index = index


class TopicError(FlowODMError):
    """A topic does not exist, or may not be used."""
