"""The process's one connection to Kafka and the schema registry.

Clients are made when first used, under a lock, and never used in another process than the one
that made them: librdkafka's threads do not survive a fork.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from flowodm.connection.clients import Clients
from flowodm.connection.options import ConnectOptions
from flowodm.exceptions import ConfigurationError
from flowodm.registry.client import SchemaRegistry
from flowodm.settings import BaseSettings, producer_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import confluent_kafka
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from flowodm.connection.async_clients import AsyncConsumer, AsyncProducer
    from flowodm.connection.clients import StandIn
    from flowodm.tracing import Tracing

T = TypeVar("T")


class KafkaConnection:
    """The process's connection: there is one, whoever asks for it. Thread-safe.

    Nothing connects before a client is used. Get it from :func:`connect` or
    :func:`get_kafka_connection`.
    """

    _instance: ClassVar[KafkaConnection | None] = None
    _options: ConnectOptions
    _clients: Clients
    _lock: threading.RLock
    _stand_in: StandIn | None = None

    def __new__(cls) -> KafkaConnection:  # noqa: PYI034 - the one instance, of whatever class
        """The one instance, made at import."""
        if cls._instance is None:
            self = cls._instance = super().__new__(cls)
            self._options = ConnectOptions()
            self._start_afresh()
            os.register_at_fork(after_in_child=self._after_fork_in_child)
        return cls._instance

    def __repr__(self) -> str:
        """Addresses only: nothing secret."""
        servers, url = self._options.addresses()
        registry = SchemaRegistry({"url": url}).name if url else None
        return f"KafkaConnection(bootstrap_servers={servers!r}, schema_registry={registry!r})"

    def configure(self, *args: Any, **options: Any) -> None:
        """Say what :func:`connect` says, with the same arguments."""
        given = ConnectOptions(*args, **options)
        with self._lock:
            changed = self._options.updated_by(given)
            if changed != self._options:
                self._options = changed
                self.close_connection()

    @property
    def producer(self) -> confluent_kafka.Producer:
        """The process's producer: idempotent, polled in the background, flushed at exit.

        One that has failed for good is replaced.

        Raises:
            ConfigurationError: There is no address, or librdkafka refuses a property.
        """
        with self._lock:
            producer = self._clients.working_producer()
            if producer is None:
                producer = self._clients.make_producer(self.producer_config())
                self._close_at_the_end_of_a_child()
            return producer

    def producer_config(self) -> dict[str, Any]:
        """The complete librdkafka configuration of a producer; it holds secrets.

        Raises:
            ConfigurationError: There is no address.
        """
        options = self._options
        said = options.properties(options.producer_config)
        return options.kafka("producer", {**producer_defaults(said), **said})

    def polls(self, producer: Any) -> bool:
        """Whether this connection polls the producer in the background."""
        return producer is not None and producer is self._clients.producer

    def in_callback(self) -> bool:
        """Whether a delivery callback is calling, from the thread that polls the producer."""
        return self._clients.in_callback()

    def consumer_config(
        self,
        group_id: str,
        settings: BaseSettings | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The complete librdkafka configuration of a consumer; it holds secrets.

        The more particular wins: ``extra`` over ``settings`` over
        ``connect(consumer_config=...)`` over the library's defaults.

        Raises:
            ConfigurationError: There is no address.
            SettingsError: The settings contradict each other.
        """
        general = {
            # Two assignors of different kinds cannot share a group; loops use this one.
            "partition.assignment.strategy": "cooperative-sticky",
            **self._options.properties(self._options.consumer_config),
        }
        settings = copy(settings) if settings is not None else BaseSettings()
        settings.extra_config = {**settings.extra_config, **(extra or {})}
        config = settings.merged_into(general)
        return {**self._options.kafka("consumer", config), "group.id": group_id}

    def get_consumer(
        self,
        group_id: str,
        topics: Sequence[str] | None = None,
        settings: BaseSettings | None = None,
    ) -> confluent_kafka.Consumer:
        """A consumer of this group, subscribed to the topics; the same one on the next call.

        A consumer that was closed is replaced. Closing it is the caller's to do, or happens at
        exit.

        Raises:
            ConfigurationError: There is no address, or librdkafka refuses a property.
            SettingsError: The settings contradict each other.
        """
        config = self.consumer_config(group_id, settings)
        with self._lock:
            return self._clients.consumer(config, tuple(topics or ()))

    def lend(self, consumer: Any) -> bool | None:
        """Leave a consumer of :meth:`get_consumer` to one user alone, who closes it.

        Returns:
            True: it is the caller's now. None: it is somebody else's already; ask for another.
            False: it is not from here.
        """
        with self._lock:
            return self._clients.lend(consumer)

    async def get_async_producer(self) -> AsyncProducer:
        """The process's producer for coroutines: the same one, so that order is kept.

        Raises:
            ConfigurationError: As for :attr:`producer`.
        """
        if self._clients.producer is None:
            await asyncio.to_thread(lambda: self.producer)
        with self._lock:
            return self._clients.async_producer(self.producer)

    async def get_async_consumer(
        self,
        group_id: str,
        topics: Sequence[str] | None = None,
        settings: BaseSettings | None = None,
    ) -> AsyncConsumer:
        """The consumer that :meth:`get_consumer` gives, for coroutines.

        Raises:
            ConfigurationError, SettingsError: As for :meth:`get_consumer`.
        """
        consumer = await asyncio.to_thread(self.get_consumer, group_id, topics, settings)
        with self._lock:
            return self._clients.async_consumer(consumer)

    @property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry as flowodm uses it; None where none is configured.

        Raises:
            ConfigurationError: Half of the credentials is missing.
        """
        with self._lock:
            if self._clients.registry is None:
                own = self._stand_in
                config = self._options.registry() if own is None else own.registry_config
                if config is not None:
                    self._clients.registry = SchemaRegistry(config)
            return self._clients.registry

    @property
    def schema_registry(self) -> SchemaRegistryClient | None:
        """Confluent's own registry client; None where no registry is configured.

        Raises:
            ConfigurationError: A property is wrong.
        """
        registry = self.registry
        return None if registry is None else registry.client

    def close_connection(self) -> None:
        """Flush the producer, with a bound, and close every client; all are made anew on use."""
        with self._lock:
            clients, self._clients = self._clients, self._no_clients()
        clients.close()

    @contextmanager
    def replaced_by(self, stand_in: StandIn) -> Iterator[None]:
        """Use a stand-in in place of Kafka and the registry, whatever connect() says meanwhile.

        Afterwards everything is as before, clients that were made included.

        Raises:
            ConfigurationError: There is a stand-in already.
        """
        with self._lock:
            if self._stand_in is not None:
                raise ConfigurationError(
                    "the connection is replaced already: end the one in-memory Kafka first"
                )
            options, clients = self._options, self._clients
            self._stand_in = stand_in
            self._clients = self._no_clients()
            self._options = replace(options, bootstrap_servers="memory")
        try:
            yield
        finally:
            with self._lock:
                own, self._clients = self._clients, clients
                self._options, self._stand_in = options, None
            own.close()

    @property
    def tracing(self) -> Tracing | None:
        """How what is sent and handled is traced; None: it is not."""
        return self._options.tracing

    @property
    def stand_in(self) -> StandIn | None:
        """What takes Kafka's place now; None: nothing does."""
        return self._stand_in

    def consumer_class(self, usual: Callable[[dict[str, Any]], T]) -> Callable[[dict[str, Any]], T]:
        """What to make consumers with: the usual, unless there is a stand-in."""
        return usual if self._stand_in is None else self._stand_in.consumer

    def reset(self) -> None:
        """Close, and forget what :func:`connect` was told. For tests."""
        with self._lock:
            self._options = ConnectOptions()
            self.close_connection()

    def _close_at_the_end_of_a_child(self) -> None:
        """A child of multiprocessing ends without the functions of atexit, but with its own."""
        processes, util = (
            sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util")
        )
        if processes is not None and util is not None and processes.parent_process() is not None:
            util.Finalize(None, self.close_connection, exitpriority=0)

    def _start_afresh(self) -> None:
        self._clients = Clients(tracing=self._options.tracing)
        self._lock = threading.RLock()

    def _no_clients(self) -> Clients:
        return Clients(self._stand_in, self._options.tracing)

    def _after_fork_in_child(self) -> None:
        self._clients.abandon()
        self._start_afresh()  # the lock may be held by a thread that is not here


_connection = KafkaConnection()
atexit.register(_connection.close_connection)


def get_kafka_connection() -> KafkaConnection:
    """The process's connection."""
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
    """Say where Kafka is. Nothing connects yet; a wrong address shows at first use.

    What is None keeps what an earlier call said, and else comes from the environment at first
    use: KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM,
    KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SSL_CA_LOCATION,
    KAFKA_SSL_CERTIFICATE_LOCATION, KAFKA_SSL_KEY_LOCATION, KAFKA_SSL_KEY_PASSWORD,
    SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_API_KEY, SCHEMA_REGISTRY_API_SECRET,
    SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO. A call that changes something closes the clients made
    before.

    Args:
        bootstrap_servers: ``host:port``, several separated by commas.
        security_protocol: PLAINTEXT (librdkafka's default), SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
        sasl_username: For PLAIN and SCRAM.
        sasl_password: For PLAIN and SCRAM.
        schema_registry_url: The base URL of a registry with Confluent's API.
        schema_registry_api_key: User of the registry's basic authentication.
        schema_registry_api_secret: Its password.
        schema_registry_basic_auth_user_info: Both as ``user:password``; wins over the two.
        producer_config: Any librdkafka properties for producers.
        consumer_config: The same for consumers.
        schema_registry_config: Any properties of Confluent's SchemaRegistryClient, such as
            ``ssl.ca.location`` or ``bearer.auth.token``; they win over the arguments above.
        kafka_config: Any librdkafka properties, and callbacks such as ``oauth_cb``, for
            producers and consumers alike; the two configs above win over it.
        ssl_ca_location: A file with the certificates of the authorities to trust; by default
            the system's. For Kafka, as the next three.
        ssl_certificate_location: A file with this client's certificate.
        ssl_key_location: A file with its private key.
        ssl_key_password: What that is encrypted with.
        tracing: Trace what this connection's producer sends and what loops handle, with
            OpenTelemetry: ``flowodm.tracing.Tracing()``.
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
    """The process's producer; see :attr:`KafkaConnection.producer`."""
    return _connection.producer


def get_consumer(
    group_id: str, topics: Sequence[str] | None = None, settings: BaseSettings | None = None
) -> confluent_kafka.Consumer:
    """A consumer of this group; see :meth:`KafkaConnection.get_consumer`."""
    return _connection.get_consumer(group_id, topics, settings)


async def get_async_producer() -> AsyncProducer:
    """The process's producer for coroutines; see :meth:`KafkaConnection.get_async_producer`."""
    return await _connection.get_async_producer()


async def get_async_consumer(
    group_id: str, topics: Sequence[str] | None = None, settings: BaseSettings | None = None
) -> AsyncConsumer:
    """A consumer for coroutines; see :meth:`KafkaConnection.get_async_consumer`."""
    return await _connection.get_async_consumer(group_id, topics, settings)


def get_schema_registry() -> SchemaRegistryClient:
    """Confluent's client for the configured registry.

    Raises:
        ConfigurationError: No registry is configured, or a property is wrong.
    """
    client = _connection.schema_registry
    if client is None:
        raise ConfigurationError(
            "no schema registry: set SCHEMA_REGISTRY_URL or connect(schema_registry_url=...)"
        )
    return client
