"""The clients that one connection has made in this process, and their end."""

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

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT = 10.0
"""Seconds that closing waits for messages under way."""

CLOSE_TIMEOUT = 10.0
"""Seconds that consumers get to leave their groups; with a silent broker it has no other end."""

_POLL_INTERVAL = 0.1
_PURGE_TIMEOUT = 1.0
_LOG_ERROR = 3  # syslog's number, as librdkafka's log_level has it

#: librdkafka's properties whose values no text may show.
_SECRET = re.compile(r"password|secret|\.key$|key\.pem|token|oauthbearer\.config|jaas")


class SharedConsumer(confluent_kafka.Consumer):
    """A consumer that knows whether it was closed, so that a closed one is not handed out."""

    closed = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turn = threading.Lock()  # of whoever takes messages and commits them

    def close(self) -> None:
        """Leave the group and stop; see confluent_kafka.Consumer.close."""
        self.closed = True
        super().close()


class StandIn(Protocol):
    """What takes the place of Kafka and the registry for a while; flowodm.testing has one.

    Attributes:
        registry_config: Properties of a schema registry; None: there is none.
    """

    registry_config: dict[str, Any] | None

    def consumer(self, config: dict[str, Any]) -> Any:
        """A consumer, from librdkafka's configuration."""

    def producer(self, config: dict[str, Any]) -> Any:
        """A producer."""


class Clients:
    """Producer, consumers and registry; all start empty. The owner locks.

    Args:
        stand_in: Makes producer and consumers in Kafka's place.
        tracing: Traces what the producer sends.
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
        """Make the producer and begin to poll it."""
        own, told = self._stand_in, config.get("error_cb")

        def take_error(error: confluent_kafka.KafkaError) -> None:
            if error.fatal() or error.code() == confluent_kafka.KafkaError._FATAL:  # noqa: SLF001 - the constant's public name
                self._producer_failed = True
            if told is not None:
                told(error)
            elif int(config.get("log_level", _LOG_ERROR)) >= _LOG_ERROR:
                # What librdkafka does where nobody takes its errors.
                config.get("logger", logger).error("the producer: %s", error.str())

        make: Any = confluent_kafka.Producer if own is None else own.producer
        if self._tracing is not None:
            make = self._tracing.producers(make)
        self._producer_failed = False
        self.producer = _made(make, {**config, "error_cb": take_error})
        self._poller = _ProducerPoller(self.producer)
        self._poller.start()
        return self.producer

    def working_producer(self) -> confluent_kafka.Producer | None:
        """The producer, unless there is none or it has failed for good: then it is given up.

        An idempotent producer ends with a fatal error when it can no longer tell whether a
        message was written; librdkafka's INTRODUCTION.md, "Fatal errors", has the cases.
        """
        if self._producer_failed and self._poller is not None:
            logger.error("the producer has failed for good; a new one takes its place")
            self._poller.retire()  # who waits for its messages is told first
            self.producer = self._poller = self._async_producer = None
            self._producer_failed = False
        return self.producer

    @staticmethod
    def in_callback() -> bool:
        """Whether a delivery callback is calling: its thread serves all other deliveries."""
        return isinstance(threading.current_thread(), _ProducerPoller)

    def consumer(self, config: Mapping[str, Any], topics: tuple[str, ...]) -> SharedConsumer:
        """The open consumer of this configuration and subscription, made if need be."""
        key = (topics, tuple(sorted((name, repr(value)) for name, value in config.items())))
        consumer = self._consumers.get(key)
        if consumer is None or consumer.closed:
            own = self._stand_in
            consumer = _made(SharedConsumer if own is None else own.consumer, config)
            if topics:
                consumer.subscribe(list(topics))
            self._consumers[key] = consumer
        return consumer

    def lend(self, consumer: Any) -> bool | None:
        """Leave a consumer to one user alone: it is not handed out again, but closed at the end.

        Returns:
            True: it is the caller's. None: it is somebody else's already. False: it was not
            made here.
        """
        for key, known in self._consumers.items():
            if known is consumer:
                del self._consumers[key]
                self._lent = [one for one in self._lent if not one.closed]
                self._lent.append(consumer)
                return True
        return None if any(one is consumer for one in self._lent) else False

    def async_producer(self, producer: confluent_kafka.Producer) -> AsyncProducer:
        """The producer for coroutines."""
        if self._async_producer is None:
            self._async_producer = AsyncProducer(producer)
        return self._async_producer

    def async_consumer(self, consumer: confluent_kafka.Consumer) -> AsyncConsumer:
        """The same consumer for coroutines; what belongs to closed ones is given up."""
        for key, known in list(self._async_consumers.items()):
            if known.closed:
                known.release()
                del self._async_consumers[key]
        key = id(consumer)  # the value keeps it alive
        if key not in self._async_consumers:
            self._async_consumers[key] = AsyncConsumer(consumer)
        return self._async_consumers[key]

    def close(self) -> None:
        """Flush for at most FLUSH_TIMEOUT seconds, then close all."""
        if self.producer is not None:
            left = self.producer.flush(FLUSH_TIMEOUT)
            if left:
                logger.error(
                    "%d messages were not delivered within %g s and are given up",
                    left,
                    FLUSH_TIMEOUT,
                )
                self.producer.purge()  # whoever waits for them is told
                self.producer.flush(_PURGE_TIMEOUT)
        if self._poller is not None:
            self._poller.stop()
        close_consumers([*self._consumers.values(), *self._lent])
        for known in self._async_consumers.values():
            known.release()
        if self.registry is not None:
            self.registry.close()

    def abandon(self) -> None:
        """Leave the clients of a parent process alone, for ever.

        A librdkafka handle may not even be destroyed after a fork: its threads are gone, and
        destroying joins them (librdkafka issue 2374). So they get a reference that nothing
        drops, interpreter shutdown included.
        """
        for client in (self.producer, *self._consumers.values(), *self._lent):
            if client is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


class _ProducerPoller(threading.Thread):
    """Serves the producer's delivery reports and log lines as they come.

    Without it they would wait for whoever calls poll() next, which for produce_nowait may be
    never.
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
            except Exception:
                logger.exception("a delivery callback failed")

    def retire(self) -> None:
        """End when all messages are answered."""
        self._retired = True

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def close_consumers(consumers: Sequence[Any]) -> None:
    """Leave the groups, all at once and within CLOSE_TIMEOUT; closed ones are left alone."""
    threads = []
    for consumer in consumers:
        if not getattr(consumer, "closed", False):
            closing = threading.Thread(target=_close, args=(consumer,), daemon=True)
            try:
                closing.start()
            except RuntimeError:  # since Python 3.12 there are no new threads at the program's end
                _close(consumer)
            else:
                threads.append(closing)
    deadline = time.monotonic() + CLOSE_TIMEOUT
    for closing in threads:
        closing.join(max(0.0, deadline - time.monotonic()))
        if closing.is_alive():
            logger.warning("a Kafka consumer did not close within %g s", CLOSE_TIMEOUT)


def _close(consumer: Any) -> None:
    with suppress(confluent_kafka.KafkaException, RuntimeError):  # somebody else has closed it
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
