"""Kafka's clients for coroutines, on top of stand-ins that record their calls."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from flowodm.connection.async_clients import AsyncConsumer, AsyncProducer
from flowodm.exceptions import ProducerError
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0


@dataclass(frozen=True)
class Record:
    """What of a Kafka message anybody here looks at."""

    data: bytes

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def value(self) -> bytes:
        return self.data


async def until(condition: Callable[[], Any]) -> None:
    """Wait without keeping the event loop from its work."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


class Broker:
    """A producer with a bounded local queue, which reports deliveries on demand."""

    def __init__(self, room: int = 10) -> None:
        self.room = room
        self.sent: list[tuple[Any, ...]] = []
        self.waiting: list[tuple[Callable[..., None], Any]] = []
        self.flushed: list[float] = []

    def produce(self, topic: str, value: Any, key: Any, on_delivery: Any, **options: Any) -> None:
        if topic == "":
            raise ValueError("no topic")
        if len(self.waiting) >= self.room:
            raise BufferError
        self.sent.append((topic, value, key, options))
        self.waiting.append((on_delivery, Record(value)))

    def answer(self, error: KafkaError | None = None) -> None:
        """From another thread, as librdkafka's poller does."""

        def work() -> None:
            waiting, self.waiting = self.waiting, []
            for report, record in waiting:
                report(error, record)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    def flush(self, timeout: float) -> int:
        self.flushed.append(timeout)
        self.answer()
        return 0

    def poll(self, timeout: float) -> int:
        return int(timeout)

    def __len__(self) -> int:
        return len(self.waiting)


def test_a_record_is_on_its_way_before_anybody_awaits_it():
    broker = Broker()

    async def main() -> Any:
        producer = AsyncProducer(broker)  # type: ignore[arg-type]  # a stand-in
        delivered = producer.produce("t", b"v", "k", headers={"a": b"1"}, partition=2)
        assert broker.sent == [("t", b"v", "k", {"headers": {"a": b"1"}, "partition": 2})]
        assert not delivered.done()
        broker.answer()
        return await asyncio.wait_for(delivered, PATIENCE)

    assert asyncio.run(main()).value() == b"v"


def test_a_refusal_is_a_producer_error_of_its_own_record():
    broker = Broker()

    async def main() -> None:
        producer = AsyncProducer(broker)  # type: ignore[arg-type]  # a stand-in
        refused = producer.produce("t", b"1")
        broker.answer(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        accepted = producer.produce("t", b"2")
        broker.answer()
        with pytest.raises(ProducerError, match="not delivered"):
            await asyncio.wait_for(refused, PATIENCE)
        assert (await asyncio.wait_for(accepted, PATIENCE)).value() == b"2"
        with pytest.raises(ProducerError, match="no topic"):
            await producer.produce("", b"3")

    asyncio.run(main())


def test_a_record_that_waits_for_room_is_settled_in_the_thread_of_its_own_event_loop():
    """A refusal behind the wait settles the future at once, whoever finds the room."""
    broker, settled = Broker(room=1), {}
    producer = AsyncProducer(broker)  # type: ignore[arg-type]  # a stand-in

    async def main(name: str) -> None:
        first, refused = producer.produce("t", b"1"), producer.produce("", b"2")
        refused.add_done_callback(lambda _: settled.update({name: threading.current_thread().name}))
        await asyncio.wait([first, refused], timeout=PATIENCE)

    names = ["one", "two", "three"]
    threads = [threading.Thread(target=asyncio.run, args=(main(n),), name=n) for n in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        broker.answer()

    assert settled == {name: name for name in names}
    assert len(producer) == 0


def test_a_full_queue_makes_records_wait_in_order_and_does_not_block_the_event_loop():
    broker, ticks = Broker(room=1), []

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0.001)

    async def main() -> None:
        producer = AsyncProducer(broker)  # type: ignore[arg-type]  # a stand-in
        ticking = asyncio.create_task(tick())
        sent = [producer.produce("t", b"%d" % n) for n in range(5)]
        assert len(producer) == 5
        for count in range(1, 6):
            await until(lambda: len(broker.sent) >= count)  # noqa: B023 - called at once
            assert len(broker.sent) == count
            broker.answer()
        await asyncio.wait_for(asyncio.gather(*sent), PATIENCE)
        ticking.cancel()

    asyncio.run(main())
    assert [value for _, value, _, _ in broker.sent] == [b"%d" % n for n in range(5)]
    assert len(ticks) > 5


def test_an_event_loop_that_ends_before_there_was_room_says_what_was_not_sent(caplog):
    broker = Broker(room=1)

    async def main() -> None:
        producer = AsyncProducer(broker)  # type: ignore[arg-type]  # a stand-in
        for n in range(3):
            producer.produce("t", b"%d" % n)
        await asyncio.sleep(0)  # the wait for room has begun

    asyncio.run(main())
    assert "2 records were not sent" in caplog.text
    broker.answer()  # the event loop is gone; nobody minds


def test_one_producer_serves_one_event_loop_after_the_other():
    broker = Broker(room=1)
    producer = AsyncProducer(broker)  # type: ignore[arg-type]  # a stand-in

    async def main(value: bytes) -> None:
        first, second = producer.produce("t", value), producer.produce("t", value)
        broker.answer()
        await asyncio.wait_for(first, PATIENCE)
        await until(lambda: broker.waiting)
        broker.answer()
        await asyncio.wait_for(second, PATIENCE)

    asyncio.run(main(b"1"))
    asyncio.run(main(b"2"))
    assert len(broker.sent) == 4


def test_flush_and_poll_are_done_elsewhere():
    broker = Broker()

    async def main() -> None:
        producer = AsyncProducer(broker)  # type: ignore[arg-type]  # a stand-in
        delivered = producer.produce("t", b"1")
        assert await producer.flush(2.0) == 0
        assert (await delivered).value() == b"1"
        assert await producer.poll(3) == 3

    asyncio.run(main())
    assert broker.flushed == [2.0]


class Source:
    """A consumer that gives what a test puts in, from the one thread that may ask it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.threads: set[int] = set()
        self.calls: list[tuple[Any, ...]] = []
        self.polls = 0
        self.closed = False

    def poll(self, timeout: float) -> Record | None:
        self.polls += 1
        self.threads.add(threading.get_ident())
        deadline = time.monotonic() + timeout
        while not self.records and time.monotonic() < deadline:
            time.sleep(0.001)
        return self.records.pop(0) if self.records else None

    def consume(self, number: int, timeout: float) -> list[Record]:
        assert timeout == 0
        taken, self.records = self.records[:number], self.records[number:]
        return taken

    def commit(self, *args: Any, **kwargs: Any) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append((args, kwargs))

    def seek(self, partition: TopicPartition) -> None:
        self.calls.append(("seek", partition.offset))

    def close(self) -> None:
        self.closed = True


def values(records: list[Any]) -> list[bytes]:
    return [record.value() for record in records]


def test_records_come_from_the_consumers_own_thread_and_the_event_loop_goes_on():
    source = Source()

    async def main() -> None:
        consumer = AsyncConsumer(source)  # type: ignore[arg-type]  # a stand-in
        waiting = asyncio.create_task(consumer.poll(PATIENCE))
        await asyncio.sleep(0)
        source.records += [Record(b"1"), Record(b"2"), Record(b"3")]
        first = await waiting
        assert first is not None
        assert first.value() == b"1"
        assert values(await consumer.consume(10, PATIENCE)) == [b"2", b"3"]
        assert await consumer.poll(0) is None
        await consumer.commit(first)
        await consumer.close()
        await consumer.close()

    asyncio.run(main())
    assert threading.get_ident() not in source.threads
    assert len(source.threads) == 1
    [(_, kwargs)] = source.calls
    assert kwargs == {"asynchronous": False}
    assert source.closed


def test_a_cancelled_poll_loses_no_record():
    """It had one in its hands when it was cancelled, or got one right after."""
    source = Source()

    async def main() -> list[bytes]:
        consumer = AsyncConsumer(source)  # type: ignore[arg-type]  # a stand-in
        got: list[bytes] = []
        for n in range(50):
            waiting = asyncio.create_task(consumer.poll(PATIENCE))
            await asyncio.sleep(0.0005 * (n % 5))
            source.records.append(Record(b"%d" % n))
            await asyncio.sleep(0.0005 * (n % 3))
            waiting.cancel()
            try:
                record = await waiting
            except asyncio.CancelledError:
                continue
            got += values([record])
        while len(got) < 50:
            got += values(await consumer.consume(100, PATIENCE))
        await consumer.close()
        return got

    got = asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE))
    assert sorted(got, key=int) == [b"%d" % n for n in range(50)]


def test_a_cancelled_poll_lets_its_thread_go():
    source = Source()

    async def main() -> None:
        consumer = AsyncConsumer(source)  # type: ignore[arg-type]  # a stand-in
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consumer.poll(), 0.01)
        polls = source.polls
        assert await asyncio.wait_for(consumer.poll(0), PATIENCE) is None
        assert source.polls <= polls + 2
        await consumer.close()

    asyncio.run(main())


def test_a_consumer_serves_one_event_loop_after_the_other():
    source = Source()
    consumer = AsyncConsumer(source)  # type: ignore[arg-type]  # a stand-in
    for n in range(3):
        source.records.append(Record(b"%d" % n))
        record = asyncio.run(consumer.poll(PATIENCE))
        assert record is not None
        assert record.value() == b"%d" % n
    asyncio.run(consumer.close())
    wait_until(lambda: consumer.closed, PATIENCE, "it is closed")


def test_seeking_drops_what_a_cancelled_poll_has_kept_of_that_partition():
    source = Source()

    async def main() -> None:
        consumer = AsyncConsumer(source)  # type: ignore[arg-type]  # a stand-in
        waiting = asyncio.create_task(consumer.poll(PATIENCE))
        await until(lambda: source.polls)
        source.records.append(Record(b"early"))
        # The event loop stands still meanwhile: the record is there, and nobody has it yet.
        wait_until(lambda: not source.records, PATIENCE, "it was taken")
        waiting.cancel()
        await until(lambda: consumer._kept)
        await consumer.seek(TopicPartition("t", 0, 5))
        assert await consumer.poll(0) is None
        await consumer.close()

    asyncio.run(main())
    assert source.calls == [("seek", 5)]
