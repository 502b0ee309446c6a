"""The process's connection to Kafka and the schema registry."""

from flowodm.connection.connection import KafkaConnection
from flowodm.connection.singleton import (
    connect,
    get_async_consumer,
    get_async_producer,
    get_consumer,
    get_kafka_connection,
    get_producer,
    get_schema_registry,
)

__all__ = [
    "KafkaConnection",
    "connect",
    "get_async_consumer",
    "get_async_producer",
    "get_consumer",
    "get_kafka_connection",
    "get_producer",
    "get_schema_registry",
]
