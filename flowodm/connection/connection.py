"""The process's connection to Kafka and the schema registry.

Clients are made on first use, under a lock. A forked child makes its own: librdkafka's threads do
not survive a fork.
"""

from __future__ import annotations

import asyncio
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
    """The process's only connection. Thread-safe.

    Nothing connects before a client is used. :func:`flowodm.connection.connect` and
    :func:`flowodm.connection.get_kafka_connection` return it.
    """

    _instance: ClassVar[KafkaConnection | None] = None
    _options: ConnectOptions
    _clients: Clients
    _lock: threading.RLock
    _stand_in: StandIn | None = None

    def __new__(cls) -> KafkaConnection:  # noqa: PYI034 - the one instance, of whatever class
        """Return the only instance; the first call makes it."""
        if cls._instance is None:
            self = cls._instance = super().__new__(cls)
            self._options = ConnectOptions()
            self._make_lock_and_clients()
            os.register_at_fork(after_in_child=self._after_fork_in_child)
        return cls._instance

    def __repr__(self) -> str:
        """Show the addresses, without credentials."""
        servers, url = self._options.addresses()
        registry = SchemaRegistry({"url": url}).name if url else None
        return f"KafkaConnection(bootstrap_servers={servers!r}, schema_registry={registry!r})"

    def configure(self, *args: Any, **options: Any) -> None:
        """Set options; see :func:`flowodm.connection.connect`, which has the same arguments."""
        later = ConnectOptions(*args, **options)
        with self._lock:
            updated = self._options.updated_by(later)
            if updated != self._options:
                self._options = updated
                self.close_connection()

    @property
    def producer(self) -> confluent_kafka.Producer:
        """The process's producer: idempotent, polled in the background, flushed at exit.

        A producer that has failed fatally is replaced.

        Raises:
            ConfigurationError: There is no address of Kafka, or librdkafka refuses a property.
        """
        with self._lock:
            producer = self._clients.working_producer()
            if producer is None:
                producer = self._clients.make_producer(self.producer_config())
                self._close_when_a_child_ends()
            return producer

    def producer_config(self) -> dict[str, Any]:
        """Return the complete librdkafka configuration of a producer, secrets included.

        Raises:
            ConfigurationError: There is no address of Kafka.
        """
        options = self._options
        properties = options.properties(options.producer_config)
        return options.kafka("producer", {**producer_defaults(properties), **properties})

    def polls(self, producer: Any) -> bool:
        """Tell whether this connection polls the producer in the background."""
        return producer is not None and producer is self._clients.producer

    def in_callback(self) -> bool:
        """Tell whether the caller is a delivery callback, in the thread that polls the producer."""
        return self._clients.in_callback()

    def consumer_config(
        self,
        group_id: str,
        settings: BaseSettings | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the complete librdkafka configuration of a consumer, secrets included.

        ``extra`` wins over ``settings``, these over ``connect(consumer_config=...)``, and that
        over the library's defaults.

        Raises:
            ConfigurationError: There is no address of Kafka.
            SettingsError: The settings contradict each other.
        """
        general = {
            # Members with eager and cooperative assignors cannot share a group; loops use this one.
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
        """Return the consumer of this group and these topics; the first call makes it.

        A consumer that was closed is replaced. The caller may close it; otherwise it is closed
        when the process ends.

        Raises:
            ConfigurationError: There is no address of Kafka, or librdkafka refuses a property.
            SettingsError: The settings contradict each other.
        """
        config = self.consumer_config(group_id, settings)
        with self._lock:
            return self._clients.consumer(config, tuple(topics or ()))

    def lend(self, consumer: Any) -> bool | None:
        """Reserve a consumer of :meth:`get_consumer` for the caller, who closes it.

        Returns:
            True: it is the caller's now. None: another caller has reserved it; get another one.
            False: this connection did not make it.
        """
        with self._lock:
            return self._clients.lend(consumer)

    async def get_async_producer(self) -> AsyncProducer:
        """Return the process's producer for coroutines: the same producer, so that order is kept.

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
        """Return the consumer of :meth:`get_consumer`, for coroutines.

        Raises:
            ConfigurationError, SettingsError: As for :meth:`get_consumer`.
        """
        consumer = await asyncio.to_thread(self.get_consumer, group_id, topics, settings)
        with self._lock:
            return self._clients.async_consumer(consumer)

    @property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry as flowodm uses it; None if none is configured.

        Raises:
            ConfigurationError: The API key or its secret is missing.
        """
        with self._lock:
            if self._clients.registry is None:
                stand_in = self._stand_in
                config = self._options.registry() if stand_in is None else stand_in.registry_config
                if config is not None:
                    self._clients.registry = SchemaRegistry(config)
            return self._clients.registry

    @property
    def schema_registry(self) -> SchemaRegistryClient | None:
        """Confluent's registry client; None if no registry is configured.

        Raises:
            ConfigurationError: A property is wrong.
        """
        registry = self.registry
        return None if registry is None else registry.client

    def close_connection(self) -> None:
        """Flush the producer and close all clients, with time-outs; the next use makes new ones."""
        with self._lock:
            clients, self._clients = self._clients, self._new_clients()
        clients.close()

    @contextmanager
    def replaced_by(self, stand_in: StandIn) -> Iterator[None]:
        """Use a stand-in for Kafka and the registry during the context.

        Afterwards the options and clients from before are in use again, whatever connect() has
        set meanwhile.

        Raises:
            ConfigurationError: There is a stand-in already.
        """
        with self._lock:
            if self._stand_in is not None:
                raise ConfigurationError(
                    "another stand-in, such as an InMemoryKafka, is active: leave its context first"
                )
            options, clients = self._options, self._clients
            self._stand_in = stand_in
            self._clients = self._new_clients()
            self._options = replace(options, bootstrap_servers="memory")
        try:
            yield
        finally:
            with self._lock:
                replaced, self._clients = self._clients, clients
                self._options, self._stand_in = options, None
            replaced.close()

    @property
    def tracing(self) -> Tracing | None:
        """How records are traced; None: they are not."""
        return self._options.tracing

    @property
    def stand_in(self) -> StandIn | None:
        """The stand-in for Kafka; None if there is none."""
        return self._stand_in

    def consumer_class(self, usual: Callable[[dict[str, Any]], T]) -> Callable[[dict[str, Any]], T]:
        """Return what makes consumers: the usual class, or the stand-in's."""
        return usual if self._stand_in is None else self._stand_in.consumer

    def reset(self) -> None:
        """Close all clients and clear all options. For tests."""
        with self._lock:
            self._options = ConnectOptions()
            self.close_connection()

    def _close_when_a_child_ends(self) -> None:
        """Close the connection in a child of multiprocessing, which does not run atexit's."""
        processes, util = (
            sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util")
        )
        if processes is not None and util is not None and processes.parent_process() is not None:
            util.Finalize(None, self.close_connection, exitpriority=0)

    def _make_lock_and_clients(self) -> None:
        self._lock = threading.RLock()
        self._clients = Clients(tracing=self._options.tracing)

    def _new_clients(self) -> Clients:
        return Clients(self._stand_in, self._options.tracing)

    def _after_fork_in_child(self) -> None:
        self._clients.abandon()
        self._make_lock_and_clients()  # a thread of the parent may hold the lock
