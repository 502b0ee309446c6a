"""aproduce and aproduce_many await the broker's answer without blocking the event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from flowodm.connection import connect, get_kafka_connection
from flowodm.connection.async_clients import AsyncProducer
from flowodm.exceptions import ProducerError, RegistryUnavailableError, SerializationError
from flowodm.model import FlowBaseModel
from flowodm.produce import async_deliveries as produce_async
from flowodm.produce import methods as model_produces
from flowodm.serialization.codecs import codec_for
from support.waiting import wait_until_async

IMPATIENT = {"timeout": 0.5, "max.retries": 0}


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        key_field = "order_id"

    order_id: int = 1
    amount: float = 1.0


class Answer:
    """A delivered message."""

    def topic(self) -> str:
        return "orders"


class Kafka:
    """librdkafka's side; each message is answered from another thread, unless it is silent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.refused: set[bytes] = set()
        self.silent = False
        self.room = 10**9
        self.kept: list[Any] = []

    def produce(self, **message: Any) -> None:
        if self.room <= 0:
            raise BufferError("Local: Queue full")
        self.room -= 1
        report = message.pop("on_delivery")
        self.sent.append(message)
        refused = message["key"] in self.refused
        error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if refused else None
        if self.silent:
            self.kept.append(report)
        else:
            threading.Thread(target=report, args=(error, Answer())).start()


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    get_kafka_connection().reset()
    kafka = Kafka()
    producer = AsyncProducer(kafka)

    async def get(_cls: Any) -> AsyncProducer:
        return producer

    monkeypatch.setattr(Order, "get_async_producer", classmethod(get))
    return kafka


async def test_when_aproduce_returns_the_broker_has_answered(kafka):
    kafka.silent = True
    task = asyncio.create_task(Order(order_id=7).aproduce(key=b"k", headers={"h": b"1"}))
    await wait_until_async(lambda: kafka.kept, 30, "the messages were sent")
    assert not task.done()
    kafka.kept[0](None, Answer())
    await task
    value = codec_for(Order).encode(Order(order_id=7))
    assert kafka.sent == [{"topic": "orders", "key": b"k", "value": value, "headers": {"h": b"1"}}]


async def test_a_refused_message_is_an_error_with_the_brokers_reason(kafka):
    kafka.refused = {b"1"}
    with pytest.raises(ProducerError, match=r"orders.*too large") as caught:
        await Order().aproduce()
    assert isinstance(caught.value.__cause__, KafkaException)


async def test_an_unconfirmed_message_is_an_error_after_the_time_out(kafka):
    kafka.silent = True
    with pytest.raises(ProducerError, match="may still be delivered"):
        await Order().aproduce(timeout=0.05)


async def test_many_are_sent_in_order_and_each_failure_is_listed(kafka):
    kafka.refused = {b"2", b"4"}
    messages = [Order(order_id=i) for i in range(6)]
    messages[0] = Order.model_construct(order_id=0, amount="wrong")
    with pytest.raises(ProducerError, match="3 of 6 messages failed") as caught:
        await Order.aproduce_many(iter(messages))
    failures = dict(caught.value.failures)
    assert sorted(failures) == [0, 2, 4]
    assert isinstance(failures[0], SerializationError)
    assert "too large" in str(failures[2])
    assert [message["key"] for message in kafka.sent] == [b"1", b"2", b"3", b"4", b"5"]


async def test_many_that_are_delivered_are_counted(kafka):
    assert await Order.aproduce_many([Order(), Order()]) == 2
    assert await Order.aproduce_many([]) == 0


async def test_a_lone_message_instead_of_several_is_an_error_that_says_so(kafka):
    with pytest.raises(TypeError, match="list"):
        await Order.aproduce_many(Order())
    assert kafka.sent == []


async def test_what_is_not_confirmed_in_time_is_listed(kafka):
    kafka.silent = True
    with pytest.raises(ProducerError) as caught:
        await Order.aproduce_many([Order(), Order()], timeout=0.05)
    assert [index for index, _ in caught.value.failures] == [0, 1]


async def test_only_so_many_are_under_way_at_a_time(kafka, monkeypatch):
    monkeypatch.setattr(produce_async, "MAX_IN_FLIGHT", 3)
    kafka.silent = True
    task = asyncio.create_task(Order.aproduce_many(Order(order_id=i) for i in range(10)))
    await wait_until_async(lambda: len(kafka.kept) >= 3, 30, "the messages were sent")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(kafka.sent) == 3
    kafka.silent = False
    for report in kafka.kept:
        report(None, Answer())
    assert await task == 10


async def test_other_tasks_run_while_many_are_sent(kafka):
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    kafka.silent = True
    task = asyncio.create_task(Order.aproduce_many([Order()] * 1_000, timeout=30))
    await wait_until_async(lambda: len(kafka.kept) >= 1_000, 30, "the messages were sent")
    assert turns >= 9
    for report in kafka.kept:
        report(None, Answer())
    assert await task == 1_000
    counting.cancel()


async def test_a_full_queue_is_waited_for_and_order_is_kept(kafka):
    kafka.room = 2
    task = asyncio.create_task(Order.aproduce_many([Order(order_id=i) for i in range(5)]))
    await wait_until_async(lambda: len(kafka.sent) >= 2, 30, "the messages were sent")
    kafka.room = 10
    assert await task == 5
    assert [message["key"] for message in kafka.sent] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_cancelled_call_sends_nothing_that_was_not_sent_yet(kafka):
    kafka.room = 0
    task = asyncio.create_task(Order.aproduce_many([Order(), Order()]))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    kafka.room = 10
    await asyncio.sleep(0.05)
    assert kafka.sent == []


async def test_the_schema_is_asked_for_in_a_thread(kafka, monkeypatch):
    class Slow:
        prepared = False

        def prepare(self) -> None:
            self.thread = threading.current_thread()
            self.prepared = True

        def encode(self, _message: Any) -> bytes:
            assert self.prepared
            return b"value"

    slow = Slow()
    monkeypatch.setattr(model_produces, "codec_by", lambda _model, _own: slow)
    await Order().aproduce()
    assert slow.thread is not threading.current_thread()
    assert kafka.sent[0]["value"] == b"value"


async def test_a_registry_that_is_down_ends_the_call_at_once(kafka, monkeypatch):
    class Down:
        prepared = False

        def prepare(self) -> None:
            raise RegistryUnavailableError("down")

    monkeypatch.setattr(model_produces, "codec_by", lambda _model, _own: Down())
    with pytest.raises(RegistryUnavailableError):
        await Order.aproduce_many([Order(), Order()])
    with pytest.raises(RegistryUnavailableError):
        await Order().aproduce()


async def test_an_overridden_producer_for_coroutines_may_give_futures_of_futures(monkeypatch):
    class Aio:
        """As confluent_kafka's AIOProducer: awaiting produce() gives a future."""

        def __init__(self) -> None:
            self.topics: list[str] = []

        async def produce(self, topic: str, **_more: Any) -> asyncio.Future[str]:
            self.topics.append(topic)
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            if len(self.topics) == 2:
                future.set_exception(KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)))
            else:
                future.set_result("delivered")
            return future

    aio = Aio()

    async def get(_cls: Any) -> Aio:
        return aio

    monkeypatch.setattr(Order, "get_async_producer", classmethod(get))
    await Order().aproduce()
    with pytest.raises(ProducerError, match="orders"):
        await Order().aproduce()
    assert aio.topics == ["orders", "orders"]


async def test_a_producer_that_raises_at_once_is_a_failure_like_another(monkeypatch):
    class Refusing:
        def produce(self, **_message: Any) -> None:
            raise NotImplementedError("no headers here")

    async def get(_cls: Any) -> Refusing:
        return Refusing()

    monkeypatch.setattr(Order, "get_async_producer", classmethod(get))
    with pytest.raises(ProducerError, match="no headers here"):
        await Order().aproduce()


@pytest.mark.parametrize("kind", [lambda call: classmethod(lambda _cls: call()), staticmethod])
async def test_an_overridden_plain_producer_is_used_for_coroutines_too(monkeypatch, kind):
    producer = object()
    monkeypatch.setattr(Order, "get_producer", kind(lambda: producer))
    assert await Order.get_async_producer() is producer


async def test_a_deadline_that_has_passed_does_not_lose_an_answer_that_is_there(kafka):
    delivered = asyncio.get_running_loop().create_future()
    delivered.set_result("delivered")
    await produce_async.confirm(delivered, "orders", time.monotonic() - 1)


async def test_who_comes_while_the_first_one_waits_for_its_schema_does_not_overtake_it(
    kafka, monkeypatch
):
    class Slow:
        prepared = False

        def prepare(self) -> None:
            asked.set()
            assert go_on.wait(30)
            self.prepared = True

        def encode(self, _message: Any) -> bytes:
            return b"value"

    asked, go_on, slow = threading.Event(), threading.Event(), Slow()
    monkeypatch.setattr(model_produces, "codec_by", lambda _model, _own: slow)
    first = asyncio.create_task(Order(order_id=1).aproduce(30))
    await wait_until_async(asked.is_set, 30, "the registry is asked")
    slow.prepared = True  # as the thread has it a moment before its task goes on
    second = asyncio.create_task(Order.aproduce_many([Order(order_id=2)]))
    await asyncio.sleep(0.02)
    go_on.set()
    await asyncio.gather(first, second)
    assert [message["key"] for message in kafka.sent] == [b"1", b"2"]


async def test_many_answers_wake_the_event_loop_once(kafka, monkeypatch):
    kafka.silent = True
    task = asyncio.create_task(Order.aproduce_many([Order()] * 50))
    await wait_until_async(lambda: len(kafka.kept) == 50, 30, "the messages were sent")
    loop, woken = asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", lambda call, *args: (woken.append(call), wake(call, *args))
    )
    for report in kafka.kept:
        report(None, Answer())
    assert await task == 50
    assert len(woken) == 1


def test_answers_for_an_event_loop_that_has_ended_are_dropped():
    kafka = Kafka()
    kafka.silent = True
    producer = AsyncProducer(kafka)

    async def send(number: int) -> None:
        for _ in range(number):
            producer.produce("orders", b"value")

    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(send(3))
        kafka.kept[0](None, Answer())
    for report in kafka.kept[1:]:
        report(None, Answer())
    assert producer._answers._waiting == {}

    async def answered() -> None:
        delivered = producer.produce("orders", b"value")
        kafka.kept[-1](None, Answer())
        assert isinstance(await delivered, Answer)

    asyncio.run(answered())
    assert producer._answers._waiting == {}


async def test_a_registry_that_says_nothing_does_not_hold_up_the_event_loop():
    class Framed(FlowBaseModel):
        class Settings:
            topic = "orders"

        order_id: int

    turns: list[float] = []

    async def tick() -> None:
        while True:
            turns.append(time.monotonic())
            await asyncio.sleep(0.01)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        connect("127.0.0.1:1", schema_registry_url=url, schema_registry_config=IMPATIENT)
        ticking = asyncio.create_task(tick())
        started = time.monotonic()
        with pytest.raises(RegistryUnavailableError):
            await Framed(order_id=1).aproduce()
        waited = time.monotonic() - started
        ticking.cancel()
    assert waited > 0.4
    assert len([turn for turn in turns if turn > started]) > 10
