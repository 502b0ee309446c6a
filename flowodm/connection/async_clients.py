"""Kafka's clients for code in an event loop: nothing blocks it, and none belongs to one loop.

Confluent's own ones are bound to the loop in which they were made, take no headers, hold a lone
record back, and lose what a cancelled poll has fetched; and older versions have none.
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

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Answer: TypeAlias = "tuple[asyncio.Future[Message], KafkaError | None, Message]"

_SLICE = 0.1
"""Seconds of one look for records; a cancelled call ends within that."""
_FULL_QUEUE_WAIT = 0.01
_ALWAYS = 1e9


class AsyncProducer:
    """A producer for coroutines. What it wraps has to be polled by somebody else.

    Args:
        producer: The process's producer, which its connection polls.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        # An event loop's futures are settled in its own thread: each has its own queue.
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
        """Send a record. It is on its way at once, also if nobody awaits what this returns.

        Args:
            topic: The topic.
            value: The record's value; None is a tombstone.
            key: The record's key.
            options: ``partition``, ``timestamp`` and ``headers`` as confluent_kafka's producer
                takes them.

        Returns:
            A future of the delivered message. Its error is a ProducerError. While the
            producer's local queue is full it waits for room, in order.
        """
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[Message] = loop.create_future()
        record = {"topic": topic, "value": value, "key": key, **options}
        enqueue = partial(self._enqueue, record, delivered, loop)
        with self._lock:
            queue = self._queues.setdefault(loop, _Queue())
        queue.put(enqueue, loop)
        return delivered

    def flush(self, timeout: float = _ALWAYS) -> asyncio.Future[int]:
        """Wait for all records that were sent.

        Args:
            timeout: For at most so many seconds.

        Returns:
            A future of how many are still under way.
        """
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, self._producer.flush, timeout)

    def poll(self, timeout: float = 0) -> asyncio.Future[int]:
        """Serve delivery reports; done in the background anyway.

        Args:
            timeout: Wait for one for at most so many seconds.
        """
        return asyncio.get_running_loop().run_in_executor(None, self._producer.poll, timeout)

    def __len__(self) -> int:
        """How many records are not answered by the broker yet."""
        with self._lock:
            waiting = sum(len(queue.waiting) for queue in self._queues.values())
        return len(self._producer) + waiting

    def _enqueue(
        self,
        record: dict[str, Any],
        delivered: asyncio.Future[Message],
        loop: asyncio.AbstractEventLoop,
    ) -> bool:
        """Give a record to librdkafka; False if its queue is full."""

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
    """What one event loop's coroutines want to send while librdkafka's queue is full."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], bool]] = deque()
        self._pump: asyncio.Task[None] | None = None

    def put(self, enqueue: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> None:
        """Send it now, or in its turn.

        Args:
            enqueue: Tries to send; returns whether there was room.
            loop: The running event loop.
        """
        if self._pump is None and enqueue():
            return
        self.waiting.append(enqueue)
        if self._pump is None:
            self._pump = loop.create_task(self._work_off())

    async def _work_off(self) -> None:
        try:
            while self.waiting:
                if self.waiting[0]():
                    self.waiting.popleft()
                else:
                    await asyncio.sleep(_FULL_QUEUE_WAIT)
        finally:
            if self.waiting:
                logger.error(
                    "%d records were not sent: the event loop has ended while the producer's "
                    "local queue was full; await what produce() returns",
                    len(self.waiting),
                )
            self.waiting.clear()
            self._pump = None  # it knows its event loop, which would outlive its end


class _Answers:
    """Brings the broker's answers to the event loops: as many at a time as there are by then.

    Waking a loop for each would cost more than sending the message.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Answer]] = {}

    def add(self, loop: asyncio.AbstractEventLoop, answer: _Answer) -> None:
        """From whichever thread polls the producer."""
        with self._lock:
            if loop.is_closed():  # nobody waits
                self._waiting.pop(loop, None)
                return
            waiting = self._waiting.setdefault(loop, [])
            waiting.append(answer)
            if len(waiting) > 1:
                return  # the loop is about to look
        try:
            loop.call_soon_threadsafe(self._settle, loop)
        except RuntimeError:  # it has been closed just now
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
    """A consumer for coroutines: each call runs in one thread of its own, one after the other.

    A call that is cancelled loses no record: what it would have returned comes with the next.

    Args:
        consumer: What does the work; :attr:`consumer` is the same, for what is not here.
    """

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self._thread = ThreadPoolExecutor(1, "flowodm-consumer")
        self._kept: deque[Message] = deque()

    # A time-out of these two is no error, and what has come by then is not lost.
    async def poll(self, timeout: float = _ALWAYS) -> Message | None:  # noqa: ASYNC109 - see above
        """The next record, an error event, or None when ``timeout`` seconds have passed."""
        found = await self.consume(1, timeout)
        return found[0] if found else None

    async def consume(
        self,
        num_messages: int = 1,
        timeout: float = _ALWAYS,  # noqa: ASYNC109 - see above
    ) -> list[Message]:
        """The next records, as many as are there, at least one; none after ``timeout`` seconds.

        Args:
            num_messages: At most so many.
            timeout: Seconds to wait for the first; negative: without a limit.
        """
        given_up = threading.Event()
        seconds = _ALWAYS if timeout < 0 else timeout
        taking = self._thread.submit(self._take, num_messages, seconds, given_up)
        try:
            return await asyncio.wrap_future(taking)
        except asyncio.CancelledError:
            given_up.set()
            taking.add_done_callback(self._keep)
            raise

    async def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        """See confluent_kafka.Consumer.subscribe; callbacks come from the consumer's thread."""
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
        """See confluent_kafka.Consumer.commit; the broker's answer is awaited by default.

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
        """Leave the group; see confluent_kafka.Consumer.close. A second time nothing happens."""
        if not self.closed:
            await self._call(self.consumer.close)
        self.release()

    @property
    def closed(self) -> bool:
        """Whether it can be used no more."""
        return bool(getattr(self.consumer, "closed", False))

    def release(self) -> None:
        """Let the thread end; the consumer is closed by somebody else."""
        self._thread.shutdown(wait=False)

    def _take(self, number: int, timeout: float, given_up: threading.Event) -> list[Message]:
        if self._kept:
            return [self._kept.popleft() for _ in range(min(number, len(self._kept)))]
        deadline = time.monotonic() + timeout
        while not given_up.is_set():
            left = max(0.0, deadline - time.monotonic())
            first = self.consumer.poll(min(left, _SLICE))
            if first is not None:
                more = self.consumer.consume(number - 1, 0) if number > 1 else []
                return [first, *more]
            if not left:
                break
        return []

    def _keep(self, taking: Future[list[Message]]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            self._kept.extend(taking.result())

    async def _call(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(call, *args, **kwargs))
