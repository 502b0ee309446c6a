"""Kafka's clients for coroutines, usable from any event loop.

Confluent's own asynchronous clients belong to one event loop, take no headers, delay a lone
record, and lose the records that a cancelled poll has fetched; older versions have none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from confluent_kafka import KafkaException

from flowodm.exceptions import ProducerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Answer: TypeAlias = "tuple[asyncio.Future[Message], KafkaError | None, Message]"

_POLL_SLICE = 0.1
"""Seconds of one poll; a cancelled call ends within them."""
_FULL_QUEUE_WAIT = 0.01
"""Seconds until the next attempt to send while the producer's local queue is full."""
_NO_LIMIT = 1e9
"""Seconds that stand for no time-out."""


class AsyncProducer:
    """A producer for coroutines.

    Args:
        producer: The producer that it wraps, which another thread or task polls.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        # A future is settled in its event loop's thread, so each loop has its own queue.
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._answers = _Answers()

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        **options: Any,
    ) -> asyncio.Future[Message]:
        """Send a record at once, whether or not the caller awaits the returned future.

        While the producer's local queue is full, records wait for room, in order.

        Args:
            topic: The topic.
            value: The record's value; None is a tombstone.
            key: The record's key.
            options: ``partition``, ``timestamp`` and ``headers`` as confluent_kafka's producer
                takes them.

        Returns:
            A future of the delivered message; its error is a ProducerError.
        """
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[Message] = loop.create_future()
        record = {"topic": topic, "value": value, "key": key, **options}
        enqueue = partial(self._enqueue, record, delivered, loop)
        with self._lock:
            queue = self._queues.setdefault(loop, _Queue())
        queue.put(enqueue, loop)
        return delivered

    def flush(self, timeout: float = _NO_LIMIT) -> asyncio.Future[int]:
        """Wait until all records are delivered.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            A future of the number of records that are still in flight.
        """
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, self._producer.flush, timeout)

    def poll(self, timeout: float = 0) -> asyncio.Future[int]:
        """Serve delivery reports, which also happens in the background.

        Args:
            timeout: Seconds to wait for one at most.
        """
        return asyncio.get_running_loop().run_in_executor(None, self._producer.poll, timeout)

    def __len__(self) -> int:
        """Count the records that the broker has not answered yet."""
        with self._lock:
            waiting = sum(len(queue.waiting) for queue in self._queues.values())
        return len(self._producer) + waiting

    def _enqueue(
        self,
        record: dict[str, Any],
        delivered: asyncio.Future[Message],
        loop: asyncio.AbstractEventLoop,
    ) -> bool:
        """Hand a record to librdkafka; False if its queue is full."""

        def report(error: KafkaError | None, message: Message) -> None:
            self._answers.add(loop, (delivered, error, message))

        if delivered.cancelled():
            return True
        try:
            self._producer.produce(**record, on_delivery=report)
        except BufferError:
            return False
        except (KafkaException, ValueError, TypeError) as error:
            failure = ProducerError(f"topic {record['topic']}: {error}")
            failure.__cause__ = error
            delivered.set_exception(failure)
        return True


class _Queue:
    """The records of one event loop that wait for room in librdkafka's queue."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], bool]] = deque()
        self._pump: asyncio.Task[None] | None = None

    def put(self, enqueue: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> None:
        """Send a record now, or after the waiting ones.

        Args:
            enqueue: Tries to send it; returns whether there was room.
            loop: The running event loop.
        """
        if self._pump is None and enqueue():
            return
        self.waiting.append(enqueue)
        if self._pump is None:
            self._pump = loop.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        try:
            while self.waiting:
                if self.waiting[0]():
                    self.waiting.popleft()
                else:
                    await asyncio.sleep(_FULL_QUEUE_WAIT)
        finally:
            if self.waiting:
                _log.error(
                    "%d records were not sent: the event loop has ended while the producer's "
                    "local queue was full; await what produce() returns",
                    len(self.waiting),
                )
            self.waiting.clear()
            self._pump = None  # the task would keep its closed event loop alive


class _Answers:
    """Passes the broker's answers to their event loops, several at a time.

    Waking a loop for each answer would cost more than sending the message.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Answer]] = {}

    def add(self, loop: asyncio.AbstractEventLoop, answer: _Answer) -> None:
        """Queue an answer; called from the thread that polls the producer."""
        with self._lock:
            if loop.is_closed():  # nothing can wait for it
                self._waiting.pop(loop, None)
                return
            waiting = self._waiting.setdefault(loop, [])
            waiting.append(answer)
            if len(waiting) > 1:
                return  # the loop is awake already
        try:
            loop.call_soon_threadsafe(self._settle, loop)
        except RuntimeError:  # the loop was closed meanwhile
            with self._lock:
                self._waiting.pop(loop, None)

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            waiting = self._waiting.pop(loop, [])
        for answer in waiting:
            _settle(*answer)


def _settle(delivered: asyncio.Future[Message], error: KafkaError | None, message: Message) -> None:
    if delivered.done():
        return
    if error is None:
        delivered.set_result(message)
        return
    failure = ProducerError(f"topic {message.topic()}: not delivered: {error.str()}")
    failure.__cause__ = KafkaException(error)
    delivered.set_exception(failure)


class AsyncConsumer:
    """A consumer for coroutines; its calls run one after the other in a thread of its own.

    A cancelled call loses no record: the next call returns what it would have returned.

    Args:
        consumer: The consumer that it wraps.

    Attributes:
        consumer: The same, for its other methods.
    """

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self._thread = ThreadPoolExecutor(1, "flowodm-consumer")
        self._kept: deque[Message] = deque()

    async def poll(self, timeout: float = _NO_LIMIT) -> Message | None:  # noqa: ASYNC109 - its end is no error
        """Return the next record or error event; None after ``timeout`` seconds."""
        messages = await self.consume(1, timeout)
        return messages[0] if messages else None

    async def consume(
        self,
        num_messages: int = 1,
        timeout: float = _NO_LIMIT,  # noqa: ASYNC109 - its end is no error
    ) -> list[Message]:
        """Return the available records, at least one; none after ``timeout`` seconds.

        Args:
            num_messages: The number of records at most.
            timeout: Seconds to wait for the first; negative: no limit.
        """
        cancelled = threading.Event()
        seconds = _NO_LIMIT if timeout < 0 else timeout
        taking = self._thread.submit(self._take, num_messages, seconds, cancelled)
        try:
            return await asyncio.wrap_future(taking)
        except asyncio.CancelledError:
            cancelled.set()
            taking.add_done_callback(self._keep)
            raise

    async def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        """See confluent_kafka.Consumer.subscribe; callbacks run in the consumer's thread."""
        await self._call(self.consumer.subscribe, topics, **callbacks)

    async def unsubscribe(self) -> None:
        """See confluent_kafka.Consumer.unsubscribe."""
        await self._call(self.consumer.unsubscribe)

    async def assign(self, partitions: list[Any]) -> None:
        """See confluent_kafka.Consumer.assign."""
        await self._call(self.consumer.assign, partitions)

    async def assignment(self) -> list[Any]:
        """See confluent_kafka.Consumer.assignment."""
        return await self._call(self.consumer.assignment)

    async def commit(self, *args: Any, **kwargs: Any) -> Any:
        """See confluent_kafka.Consumer.commit; waits for the broker's answer by default.

        Raises:
            KafkaException: The broker refuses, or does not answer.
        """
        return await self._call(self.consumer.commit, *args, **{"asynchronous": False, **kwargs})

    async def committed(self, *args: Any, **kwargs: Any) -> list[Any]:
        """See confluent_kafka.Consumer.committed."""
        return await self._call(self.consumer.committed, *args, **kwargs)

    async def position(self, *args: Any, **kwargs: Any) -> list[Any]:
        """See confluent_kafka.Consumer.position."""
        return await self._call(self.consumer.position, *args, **kwargs)

    async def seek(self, partition: TopicPartition) -> None:
        """See confluent_kafka.Consumer.seek."""
        await self._call(self.consumer.seek, partition)
        place = (partition.topic, partition.partition)
        self._kept = deque(m for m in self._kept if (m.topic(), m.partition()) != place)

    async def pause(self, partitions: list[Any]) -> None:
        """See confluent_kafka.Consumer.pause."""
        await self._call(self.consumer.pause, partitions)

    async def resume(self, partitions: list[Any]) -> None:
        """See confluent_kafka.Consumer.resume."""
        await self._call(self.consumer.resume, partitions)

    async def get_watermark_offsets(self, *args: Any, **kwargs: Any) -> Any:
        """See confluent_kafka.Consumer.get_watermark_offsets."""
        return await self._call(self.consumer.get_watermark_offsets, *args, **kwargs)

    async def close(self) -> None:
        """Leave the group; see confluent_kafka.Consumer.close. A second call does nothing."""
        if not self.closed:
            await self._call(self.consumer.close)
        self.release()

    @property
    def closed(self) -> bool:
        """Whether the consumer was closed."""
        return bool(getattr(self.consumer, "closed", False))

    def release(self) -> None:
        """End the thread; does not close the consumer."""
        self._thread.shutdown(wait=False)

    def _take(self, number: int, timeout: float, cancelled: threading.Event) -> list[Message]:
        if self._kept:
            return [self._kept.popleft() for _ in range(min(number, len(self._kept)))]
        deadline = time.monotonic() + timeout
        while not cancelled.is_set():
            remaining = max(0.0, deadline - time.monotonic())
            first = self.consumer.poll(min(remaining, _POLL_SLICE))
            if first is not None:
                more = self.consumer.consume(number - 1, 0) if number > 1 else []
                return [first, *more]
            if not remaining:
                break
        return []

    def _keep(self, taking: Future[list[Message]]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            self._kept.extend(taking.result())

    async def _call(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(call, *args, **kwargs))
