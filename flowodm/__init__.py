"""Typed Kafka messages and consumer loops.

A message is a Pydantic model whose inner class ``Settings`` names the topic. A loop calls a handler
for each message of that topic, and manages offsets, retries and shutdown.
"""

from flowodm.connection import (
    KafkaConnection,
    connect,
    get_async_consumer,
    get_async_producer,
    get_consumer,
    get_kafka_connection,
    get_producer,
    get_schema_registry,
)
from flowodm.consumer import (
    AsyncConsumerLoop,
    ConsumerLoop,
    DeadLetter,
    MessageContext,
    Replayed,
    async_consumer_loop,
    consumer_loop,
    list_dead_letters,
    replay_dead_letters,
)
from flowodm.exceptions import (
    BatchError,
    ConfigurationError,
    ConnectionError,  # noqa: A004 - the public name is part of the contract
    ConsumerError,
    DeserializationError,
    FencedError,
    FlowODMError,
    ProducerError,
    RecordError,
    RegistryUnavailableError,
    SchemaCompatibilityError,
    SchemaError,
    SchemaRegistryError,
    SchemaValidationError,
    SerializationError,
    SettingsError,
    TopicError,
)
from flowodm.model import FlowBaseModel
from flowodm.schema import (
    CompatibilityResult,
    ValidationResult,
    check_compatibility,
    delete_subject,
    generate_model_from_registry,
    generate_model_from_schema,
    generate_model_source,
    get_schema_versions,
    list_subjects,
    load_schema_from_file,
    load_schema_from_registry,
    upload_schema,
    validate_against_file,
    validate_against_registry,
)
from flowodm.settings import (
    BaseSettings,
    BatchSettings,
    HighThroughputSettings,
    LongRunningSettings,
    RealTimeSettings,
    ReliableSettings,
)

__all__ = [
    "AsyncConsumerLoop",
    "BaseSettings",
    "BatchError",
    "BatchSettings",
    "CompatibilityResult",
    "ConfigurationError",
    "ConnectionError",
    "ConsumerError",
    "ConsumerLoop",
    "DeadLetter",
    "DeserializationError",
    "FencedError",
    "FlowBaseModel",
    "FlowODMError",
    "HighThroughputSettings",
    "KafkaConnection",
    "LongRunningSettings",
    "MessageContext",
    "ProducerError",
    "RealTimeSettings",
    "RecordError",
    "RegistryUnavailableError",
    "ReliableSettings",
    "Replayed",
    "SchemaCompatibilityError",
    "SchemaError",
    "SchemaRegistryError",
    "SchemaValidationError",
    "SerializationError",
    "SettingsError",
    "TopicError",
    "ValidationResult",
    "__version__",
    "async_consumer_loop",
    "check_compatibility",
    "connect",
    "consumer_loop",
    "delete_subject",
    "generate_model_from_registry",
    "generate_model_from_schema",
    "generate_model_source",
    "get_async_consumer",
    "get_async_producer",
    "get_consumer",
    "get_kafka_connection",
    "get_producer",
    "get_schema_registry",
    "get_schema_versions",
    "list_dead_letters",
    "list_subjects",
    "load_schema_from_file",
    "load_schema_from_registry",
    "replay_dead_letters",
    "upload_schema",
    "validate_against_file",
    "validate_against_registry",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib import metadata  # noqa: PLC0415 - it takes 30 ms

        return metadata.version("flowodm-supervisor")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
