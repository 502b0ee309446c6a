"""Producing from coroutines: each message's own delivery is awaited, nothing blocks the loop."""

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

MOST_UNDER_WAY = 10_000
"""Messages of one :class:`Sending` whose answers are awaited at a time."""

_POLL_INTERVAL = 0.01
_TURN = 100  # messages between two chances for other tasks: about a millisecond of encoding


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()


def turn(topic: str) -> asyncio.Lock:
    """Held from the start of a call until its record is handed over.

    So the messages of a topic are sent in the order in which this event loop's tasks asked for
    it, also while the first of them waits for the registry.
    """
    of_loop = _turns.setdefault(asyncio.get_running_loop(), {})
    return of_loop.setdefault(topic, asyncio.Lock())


async def prepare(parts: Iterable[Any]) -> None:
    """Have codecs and key serializers ask the registry what they need, in a thread.

    Raises:
        SchemaRegistryError, RegistryUnavailableError, SchemaCompatibilityError: See
            :meth:`flowodm.serialization.codecs.ValueCodec.prepare`.
    """
    for part in parts:
        if not part.prepared:
            await asyncio.to_thread(part.prepare)


def hand_over(producer: Any, record: dict[str, Any]) -> asyncio.Future[Any]:
    """Send a record; what is returned ends when the broker has answered.

    Args:
        producer: :class:`flowodm.connection.async_clients.AsyncProducer`, confluent_kafka's
            AIOProducer or Producer, or anything with such a ``produce``.
        record: Its arguments.
    """
    if isinstance(producer, confluent_kafka.Producer):
        producer = _polled(producer)
    try:
        answer = producer.produce(**record)
    except Exception as error:  # noqa: BLE001 - it is the answer: outcome() raises it
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed
    return answer if isinstance(answer, asyncio.Future) else asyncio.ensure_future(_end(answer))


async def _end(answer: Any) -> Any:
    while inspect.isawaitable(answer):  # an AIOProducer's produce awaits a future
        answer = await answer
    return answer


class PolledProducer:
    """A producer of the caller's own for coroutines; polled while something is under way.

    Args:
        producer: What nobody else polls.
    """

    def __init__(self, producer: confluent_kafka.Producer) -> None:
        self._producer = producer
        self._sender = AsyncProducer(producer)
        self._under_way: set[asyncio.Future[Any]] = set()
        self._polling: asyncio.Task[None] | None = None

    def produce(self, **record: Any) -> asyncio.Future[Any]:
        """See :meth:`flowodm.connection.async_clients.AsyncProducer.produce`."""
        delivered = self._sender.produce(**record)
        self._under_way.add(delivered)
        delivered.add_done_callback(self._under_way.discard)
        polling = self._polling
        if polling is None or polling.done() or polling.get_loop().is_closed():
            self._polling = asyncio.get_running_loop().create_task(self._poll())
        return delivered

    async def _poll(self) -> None:
        while self._under_way:
            self._producer.poll(0)
            await asyncio.sleep(_POLL_INTERVAL)


# A producer cannot be referred to weakly: the last few are kept, with what belongs to them.
@lru_cache(maxsize=8)
def _polled(producer: confluent_kafka.Producer) -> PolledProducer:
    return PolledProducer(producer)


async def outcome(delivered: asyncio.Future[Any], topic: str, deadline: float) -> None:
    """Wait for one message.

    Args:
        delivered: What :func:`hand_over` gave.
        topic: For the error's text.
        deadline: On ``time.monotonic()``'s scale.

    Raises:
        ProducerError: It was not delivered, or not confirmed by the deadline; in the latter
            case it may still be delivered.
    """
    try:
        if delivered.done():  # as most are, of many messages
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
    """Many messages on their way; knows those that have failed.

    Args:
        deadline: For all of them, on ``time.monotonic()``'s scale.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._under_way: deque[tuple[int, str, asyncio.Future[Any]]] = deque()
        self.failures: dict[int, FlowODMError] = {}
        self.number = 0

    def add(self, producer: Any, record: dict[str, Any]) -> None:
        """Send one."""
        index, self.number = self.number, self.number + 1
        self._under_way.append((index, record["topic"], hand_over(producer, record)))

    async def keep_up(self) -> None:
        """Wait if too many are under way, and let others run now and then."""
        if len(self._under_way) >= MOST_UNDER_WAY:
            await self._settle_oldest()
        if self.number % _TURN == 0:
            await asyncio.sleep(0)

    def fail(self, error: FlowODMError) -> None:
        """One could not even be sent."""
        error.__traceback__ = None  # of thousands, each would keep its message alive
        self.failures[self.number] = error
        self.number += 1

    async def finish(self) -> None:
        """Wait for those under way."""
        while self._under_way:
            await self._settle_oldest()

    def abandon(self) -> None:
        """Nobody waits any more; what was not given to librdkafka yet is not sent."""
        for _, _, delivered in self._under_way:
            delivered.cancel()

    async def _settle_oldest(self) -> None:
        index, topic, delivered = self._under_way.popleft()
        try:
            await outcome(delivered, topic, self._deadline)
        except ProducerError as error:
            error.__traceback__ = None
            self.failures[index] = error
