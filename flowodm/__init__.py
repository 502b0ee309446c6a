"""Typed Kafka messages and consumer loops.

A message is a Pydantic model with an inner class ``Settings`` that names its topic; a loop calls
a handler for every message of that topic and takes care of offsets, retries and shutdown.
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
    "async_consumer_loop",
    "connect",
    "consumer_loop",
    "get_async_consumer",
    "get_async_producer",
    "get_consumer",
    "get_kafka_connection",
    "get_producer",
    "get_schema_registry",
    "list_dead_letters",
    "replay_dead_letters",
]
