"""The functions that programs call on the process's connection."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any

from flowodm.connection.connection import KafkaConnection
from flowodm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import confluent_kafka
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from flowodm.connection.async_clients import AsyncConsumer, AsyncProducer
    from flowodm.settings import BaseSettings
    from flowodm.tracing import Tracing

_connection = KafkaConnection()
atexit.register(_connection.close_connection)


def get_kafka_connection() -> KafkaConnection:
    """Return the process's connection."""
    return _connection


def connect(
    bootstrap_servers: str | None = None,
    security_protocol: str | None = None,
    sasl_mechanism: str | None = None,
    sasl_username: str | None = None,
    sasl_password: str | None = None,
    schema_registry_url: str | None = None,
    schema_registry_api_key: str | None = None,
    schema_registry_api_secret: str | None = None,
    schema_registry_basic_auth_user_info: str | None = None,
    *,
    producer_config: Mapping[str, Any] | None = None,
    consumer_config: Mapping[str, Any] | None = None,
    schema_registry_config: Mapping[str, Any] | None = None,
    kafka_config: Mapping[str, Any] | None = None,
    ssl_ca_location: str | None = None,
    ssl_certificate_location: str | None = None,
    ssl_key_location: str | None = None,
    ssl_key_password: str | None = None,
    tracing: Tracing | None = None,
) -> KafkaConnection:
    """Set the addresses and credentials of Kafka and the schema registry.

    Nothing connects yet; a wrong address is an error at first use. An argument that is None keeps
    the value of an earlier call; without one, the environment counts at first use:
    KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME,
    KAFKA_SASL_PASSWORD, KAFKA_SSL_CA_LOCATION, KAFKA_SSL_CERTIFICATE_LOCATION,
    KAFKA_SSL_KEY_LOCATION, KAFKA_SSL_KEY_PASSWORD, SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_API_KEY,
    SCHEMA_REGISTRY_API_SECRET, SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO. A call that changes
    something closes the existing clients.

    Args:
        bootstrap_servers: ``host:port``, several separated by commas.
        security_protocol: PLAINTEXT (librdkafka's default), SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
        sasl_username: For PLAIN and SCRAM.
        sasl_password: For PLAIN and SCRAM.
        schema_registry_url: The base URL of a registry with Confluent's API.
        schema_registry_api_key: The user of the registry's basic authentication.
        schema_registry_api_secret: The password of that user.
        schema_registry_basic_auth_user_info: Both as ``user:password``; wins over the two.
        producer_config: librdkafka properties for producers.
        consumer_config: librdkafka properties for consumers.
        schema_registry_config: Properties of Confluent's SchemaRegistryClient, such as
            ``ssl.ca.location`` or ``bearer.auth.token``; they win over the arguments above.
        kafka_config: librdkafka properties, and callbacks such as ``oauth_cb``, for producers
            and consumers alike; ``producer_config`` and ``consumer_config`` win over it.
        ssl_ca_location: A file with the certificates of the authorities to trust for Kafka; by
            default the system's.
        ssl_certificate_location: A file with this client's certificate for Kafka.
        ssl_key_location: A file with that certificate's private key.
        ssl_key_password: The passphrase of that key.
        tracing: Traces the records that are produced and handled, with OpenTelemetry:
            ``flowodm.tracing.Tracing()``.
    """
    _connection.configure(
        bootstrap_servers=bootstrap_servers,
        security_protocol=security_protocol,
        sasl_mechanism=sasl_mechanism,
        sasl_username=sasl_username,
        sasl_password=sasl_password,
        schema_registry_url=schema_registry_url,
        schema_registry_api_key=schema_registry_api_key,
        schema_registry_api_secret=schema_registry_api_secret,
        schema_registry_basic_auth_user_info=schema_registry_basic_auth_user_info,
        producer_config=producer_config,
        consumer_config=consumer_config,
        schema_registry_config=schema_registry_config,
        kafka_config=kafka_config,
        ssl_ca_location=ssl_ca_location,
        ssl_certificate_location=ssl_certificate_location,
        ssl_key_location=ssl_key_location,
        ssl_key_password=ssl_key_password,
        tracing=tracing,
    )
    return _connection


def get_producer() -> confluent_kafka.Producer:
    """Return the process's producer; see :attr:`KafkaConnection.producer`."""
    return _connection.producer


def get_consumer(
    group_id: str, topics: Sequence[str] | None = None, settings: BaseSettings | None = None
) -> confluent_kafka.Consumer:
    """Return a consumer of this group; see :meth:`KafkaConnection.get_consumer`."""
    return _connection.get_consumer(group_id, topics, settings)


async def get_async_producer() -> AsyncProducer:
    """Return the producer for coroutines; see :meth:`KafkaConnection.get_async_producer`."""
    return await _connection.get_async_producer()


async def get_async_consumer(
    group_id: str, topics: Sequence[str] | None = None, settings: BaseSettings | None = None
) -> AsyncConsumer:
    """Return a consumer for coroutines; see :meth:`KafkaConnection.get_async_consumer`."""
    return await _connection.get_async_consumer(group_id, topics, settings)


def get_schema_registry() -> SchemaRegistryClient:
    """Return Confluent's client for the configured registry.

    Raises:
        ConfigurationError: No registry is configured, or a property is wrong.
    """
    client = _connection.schema_registry
    if client is None:
        raise ConfigurationError(
            "no schema registry: set SCHEMA_REGISTRY_URL, or call connect(schema_registry_url=...)"
        )
    return client
