"""The clients of a connection in this process: make, share and close them."""

from __future__ import annotations

import ctypes
import logging
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import confluent_kafka

from flowodm.connection.async_clients import AsyncConsumer, AsyncProducer
from flowodm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowodm.registry.client import SchemaRegistry
    from flowodm.tracing import Tracing

_log = logging.getLogger(__name__)

FLUSH_TIMEOUT = 10.0
"""Seconds that closing waits for messages in flight."""

CLOSE_TIMEOUT = 10.0
"""Seconds that consumers have to leave their groups; a silent broker would never let them."""

_POLL_INTERVAL = 0.1
"""Seconds of one poll of the producer's background thread."""

_PURGE_TIMEOUT = 1.0
"""Seconds to report messages that were dropped."""

_LOG_ERROR = 3
"""The level "error" of librdkafka's ``log_level``, which are syslog's."""

_SECRET = re.compile(r"password|secret|\.key$|key\.pem|token|oauthbearer\.config|jaas")
"""The names of librdkafka's properties whose values no text may show."""


class SharedConsumer(confluent_kafka.Consumer):
    """A consumer that several callers share.

    Attributes:
        closed: Whether it was closed, so that it is not handed out any more.
        turn: Held by the caller that takes messages and commits them.
    """

    closed = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turn = threading.Lock()

    def close(self) -> None:
        """Leave the group; see confluent_kafka.Consumer.close."""
        self.closed = True
        super().close()


class StandIn(Protocol):
    """Replaces Kafka and the registry, as flowodm.testing.InMemoryKafka does.

    Attributes:
        registry_config: Properties of Confluent's registry client; None: no registry.
    """

    registry_config: dict[str, Any] | None

    def consumer(self, config: dict[str, Any]) -> Any:
        """Make a consumer from librdkafka's configuration."""

    def producer(self, config: dict[str, Any]) -> Any:
        """Make a producer from librdkafka's configuration."""


class Clients:
    """A producer, consumers and a registry client; none at first. The caller holds a lock.

    Args:
        stand_in: Makes the producer and the consumers; None: librdkafka's are made.
        tracing: Traces the records that the producer sends; None: they are not traced.

    Attributes:
        producer: The producer.
        registry: The registry client.
    """

    def __init__(self, stand_in: StandIn | None = None, tracing: Tracing | None = None) -> None:
        self._stand_in = stand_in
        self._tracing = tracing
        self.producer: confluent_kafka.Producer | None = None
        self.registry: SchemaRegistry | None = None
        self._producer_failed = False
        self._poller: _ProducerPoller | None = None
        self._consumers: dict[Any, SharedConsumer] = {}
        self._lent: list[Any] = []
        self._async_producer: AsyncProducer | None = None
        self._async_consumers: dict[int, AsyncConsumer] = {}

    def make_producer(self, config: Mapping[str, Any]) -> confluent_kafka.Producer:
        """Make the producer and start the thread that polls it."""
        stand_in, error_callback = self._stand_in, config.get("error_cb")

        def take_error(error: confluent_kafka.KafkaError) -> None:
            if error.fatal() or error.code() == confluent_kafka.KafkaError._FATAL:  # noqa: SLF001 - the constant's public name
                self._producer_failed = True
            if error_callback is not None:
                error_callback(error)
            elif int(config.get("log_level", _LOG_ERROR)) >= _LOG_ERROR:
                # As librdkafka does without a callback.
                config.get("logger", _log).error("producer error: %s", error.str())

        make: Any = confluent_kafka.Producer if stand_in is None else stand_in.producer
        if self._tracing is not None:
            make = self._tracing.producers(make)
        self._producer_failed = False
        self.producer = _made(make, {**config, "error_cb": take_error})
        self._poller = _ProducerPoller(self.producer)
        self._poller.start()
        return self.producer

    def working_producer(self) -> confluent_kafka.Producer | None:
        """Return the producer; None if there is none, or it has failed fatally.

        An idempotent producer has a fatal error when it can no longer tell whether a message was
        written; see "Fatal errors" in librdkafka's INTRODUCTION.md.
        """
        if self._producer_failed and self._poller is not None:
            _log.error("the producer has failed fatally; a new one replaces it")
            self._poller.retire()  # it still reports what became of its messages
            self.producer = self._poller = self._async_producer = None
            self._producer_failed = False
        return self.producer

    @staticmethod
    def in_callback() -> bool:
        """Tell whether the caller is a delivery callback, in the thread that serves them all."""
        return isinstance(threading.current_thread(), _ProducerPoller)

    def consumer(self, config: Mapping[str, Any], topics: tuple[str, ...]) -> SharedConsumer:
        """Return the open consumer of this configuration and these topics; make it if needed."""
        key = (topics, tuple(sorted((name, repr(value)) for name, value in config.items())))
        consumer = self._consumers.get(key)
        if consumer is None or consumer.closed:
            stand_in = self._stand_in
            consumer = _made(SharedConsumer if stand_in is None else stand_in.consumer, config)
            if topics:
                consumer.subscribe(list(topics))
            self._consumers[key] = consumer
        return consumer

    def lend(self, consumer: Any) -> bool | None:
        """Reserve a consumer for the caller; it is not handed out again, and closed at the end.

        Returns:
            True: it is the caller's now. None: another caller has reserved it. False: it was not
            made here.
        """
        for key, shared in self._consumers.items():
            if shared is consumer:
                del self._consumers[key]
                self._lent = [lent for lent in self._lent if not lent.closed]
                self._lent.append(consumer)
                return True
        return None if any(lent is consumer for lent in self._lent) else False

    def async_producer(self, producer: confluent_kafka.Producer) -> AsyncProducer:
        """Return the producer for coroutines."""
        if self._async_producer is None:
            self._async_producer = AsyncProducer(producer)
        return self._async_producer

    def async_consumer(self, consumer: confluent_kafka.Consumer) -> AsyncConsumer:
        """Return the consumer for coroutines; release the threads of closed ones."""
        for key, existing in list(self._async_consumers.items()):
            if existing.closed:
                existing.release()
                del self._async_consumers[key]
        key = id(consumer)  # the value keeps it alive
        if key not in self._async_consumers:
            self._async_consumers[key] = AsyncConsumer(consumer)
        return self._async_consumers[key]

    def close(self) -> None:
        """Flush for at most FLUSH_TIMEOUT seconds, then close all clients."""
        if self.producer is not None:
            _flush(self.producer)
        if self._poller is not None:
            self._poller.stop()
        close_consumers([*self._consumers.values(), *self._lent])
        for async_consumer in self._async_consumers.values():
            async_consumer.release()
        if self.registry is not None:
            self.registry.close()

    def abandon(self) -> None:
        """Keep the parent process's clients from being destroyed in a forked child.

        Destroying a librdkafka handle joins its threads, which do not exist in the child
        (librdkafka issue 2374). So each client gets a reference that is never dropped, not even
        at interpreter shutdown.
        """
        for client in (self.producer, *self._consumers.values(), *self._lent):
            if client is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


class _ProducerPoller(threading.Thread):
    """Serves the producer's delivery reports and log lines as they come.

    Without it they would wait for the next poll(), which after produce_nowait may never come.
    """

    def __init__(self, producer: confluent_kafka.Producer) -> None:
        super().__init__(name="flowodm-producer", daemon=True)
        self._producer = producer
        self._stopping = threading.Event()
        self._retired = False

    def run(self) -> None:
        while not self._stopping.is_set() and not (self._retired and not len(self._producer)):
            try:
                self._producer.poll(_POLL_INTERVAL)
            except Exception:  # noqa: BLE001 - a callback's error; other reports follow
                _log.exception("a delivery callback failed")

    def retire(self) -> None:
        """End when the broker has answered all messages."""
        self._retired = True

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def _flush(producer: confluent_kafka.Producer) -> None:
    """Deliver all messages, or drop those that take too long."""
    undelivered = producer.flush(FLUSH_TIMEOUT)
    if undelivered:
        _log.error(
            "%d messages were not delivered within %g s and are dropped",
            undelivered,
            FLUSH_TIMEOUT,
        )
        producer.purge()
        producer.flush(_PURGE_TIMEOUT)  # reports them to the callers that wait


def close_consumers(consumers: Sequence[Any]) -> None:
    """Close the open ones of these consumers, in parallel and within CLOSE_TIMEOUT seconds."""
    threads = []
    for consumer in consumers:
        if not getattr(consumer, "closed", False):
            closing = threading.Thread(target=_close, args=(consumer,), daemon=True)
            try:
                closing.start()
            except RuntimeError:  # Python 3.12 and later start no thread while they shut down
                _close(consumer)
            else:
                threads.append(closing)
    deadline = time.monotonic() + CLOSE_TIMEOUT
    for closing in threads:
        closing.join(max(0.0, deadline - time.monotonic()))
        if closing.is_alive():
            _log.warning("a Kafka consumer did not close within %g s", CLOSE_TIMEOUT)


def _close(consumer: Any) -> None:
    with suppress(confluent_kafka.KafkaException, RuntimeError):  # closed meanwhile
        consumer.close()


def _made(cls: Any, config: Mapping[str, Any]) -> Any:
    try:
        return cls(dict(config))
    except confluent_kafka.KafkaException as error:
        reason = error.args[0].str()
    except (TypeError, ValueError) as error:
        reason = str(error)
    for name, value in config.items():
        if _SECRET.search(name) and isinstance(value, str) and value:
            reason = reason.replace(value, "***")
    raise ConfigurationError(f"librdkafka refuses the configuration: {reason}")
