"""Send messages from coroutines and await their deliveries, without blocking the event loop."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import confluent_kafka

from flowodm.connection.async_clients import AsyncProducer
from flowodm.exceptions import FlowODMError, ProducerError
from flowodm.produce.deliveries import UNCONFIRMED

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_IN_FLIGHT = 10_000
"""Messages of one :class:`Sending` that are in flight at a time."""

_POLL_INTERVAL = 0.01
"""Seconds between two polls of a producer of the caller's own."""
_YIELD_EVERY = 100
"""Messages after which other tasks may run: about a millisecond of encoding."""

_send_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = (
    WeakKeyDictionary()
)


def send_lock(topic: str) -> asyncio.Lock:
    """Return the lock that a call holds until its record is handed over.

    So the messages of a topic are sent in the order in which this event loop's tasks began to
    send them, even while the first one waits for the registry.
    """
    locks = _send_locks.setdefault(asyncio.get_running_loop(), {})
    return locks.setdefault(topic, asyncio.Lock())


async def prepare(parts: Iterable[Any]) -> None:
    """Let codecs and key serializers ask the registry for what they need, in a thread.

    Raises:
        SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
            :meth:`flowodm.serialization.codecs.ValueCodec.prepare`.
    """
    for part in parts:
        if not part.prepared:
            await asyncio.to_thread(part.prepare)


def hand_over(producer: Any, record: dict[str, Any]) -> asyncio.Future[Any]:
    """Send a record; return a future that is done when the broker has answered.

    Args:
        producer: :class:`flowodm.connection.async_clients.AsyncProducer`, confluent_kafka's
            AIOProducer or Producer, or an object with such a ``produce``.
        record: The arguments of ``produce``.
    """
    if isinstance(producer, confluent_kafka.Producer):
        producer = _polled(producer)
    try:
        answer = producer.produce(**record)
    except Exception as error:  # noqa: BLE001 - confirm() raises it
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed
    return answer if isinstance(answer, asyncio.Future) else asyncio.ensure_future(_result(answer))


async def _result(answer: Any) -> Any:
    while inspect.isawaitable(answer):  # an AIOProducer's produce awaits a future
        answer = await answer
    return answer


class PolledProducer:
    """A producer of the caller's own for coroutines, polled while messages are in flight.

    Args:
        producer: The producer; nothing else may poll it.
    """

    def __init__(self, producer: confluent_kafka.Producer) -> None:
        self._producer = producer
        self._sender = AsyncProducer(producer)
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._polling: asyncio.Task[None] | None = None

    def produce(self, **record: Any) -> asyncio.Future[Any]:
        """See :meth:`flowodm.connection.async_clients.AsyncProducer.produce`."""
        delivered = self._sender.produce(**record)
        self._in_flight.add(delivered)
        delivered.add_done_callback(self._in_flight.discard)
        polling = self._polling
        if polling is None or polling.done() or polling.get_loop().is_closed():
            self._polling = asyncio.get_running_loop().create_task(self._poll())
        return delivered

    async def _poll(self) -> None:
        while self._in_flight:
            self._producer.poll(0)
            await asyncio.sleep(_POLL_INTERVAL)


# A producer cannot be referenced weakly, so the cache keeps the last few alive.
@lru_cache(maxsize=8)
def _polled(producer: confluent_kafka.Producer) -> PolledProducer:
    return PolledProducer(producer)


async def confirm(delivered: asyncio.Future[Any], topic: str, deadline: float) -> None:
    """Wait for the delivery of one message.

    Args:
        delivered: The future that :func:`hand_over` returned.
        topic: For the error's text.
        deadline: In ``time.monotonic()``'s seconds.

    Raises:
        ProducerError: The message was not delivered, or not acknowledged by the deadline; in the
            latter case it may still be delivered.
    """
    try:
        if delivered.done():  # spares the time-out of most messages of a batch
            delivered.result()
            return
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await delivered
    except TimeoutError:
        raise ProducerError(f"topic {topic}: {UNCONFIRMED}") from None
    except FlowODMError:
        raise
    except Exception as error:
        raise ProducerError(f"topic {topic}: not delivered: {error}") from error


class Sending:
    """The deliveries of many messages.

    Args:
        deadline: For all of them, in ``time.monotonic()``'s seconds.

    Attributes:
        failures: The index of each failed message, with its error.
        number: The number of messages so far.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._in_flight: deque[tuple[int, str, asyncio.Future[Any]]] = deque()
        self.failures: dict[int, FlowODMError] = {}
        self.number = 0

    def add(self, producer: Any, record: dict[str, Any]) -> None:
        """Send a message."""
        index, self.number = self.number, self.number + 1
        self._in_flight.append((index, record["topic"], hand_over(producer, record)))

    async def keep_up(self) -> None:
        """Wait while MAX_IN_FLIGHT messages are in flight; let other tasks run now and then."""
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            await self._settle_oldest()
        if self.number % _YIELD_EVERY == 0:
            await asyncio.sleep(0)

    def fail(self, error: FlowODMError) -> None:
        """Note that a message could not be sent."""
        error.__traceback__ = None  # it would keep the message alive
        self.failures[self.number] = error
        self.number += 1

    async def finish(self) -> None:
        """Wait for all messages in flight."""
        while self._in_flight:
            await self._settle_oldest()

    def abandon(self) -> None:
        """Stop waiting; messages that librdkafka does not have yet are not sent."""
        for _, _, delivered in self._in_flight:
            delivered.cancel()

    async def _settle_oldest(self) -> None:
        index, topic, delivered = self._in_flight.popleft()
        try:
            await confirm(delivered, topic, self._deadline)
        except ProducerError as error:
            error.__traceback__ = None
            self.failures[index] = error
