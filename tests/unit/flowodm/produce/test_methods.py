"""produce, produce_nowait and produce_many wait for the deliveries of their own messages."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import Field

from flowodm.avro.codec import codec_for
from flowodm.connection import KafkaConnection, get_kafka_connection
from flowodm.exceptions import ConfigurationError, ProducerError, SerializationError
from flowodm.model import FlowBaseModel


class Broker:
    """A producer that answers messages in poll(), or never."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.waiting: list[Any] = []
        self.error: KafkaError | None = None
        self.answers = True
        self.full_for = 0
        self.raises: Exception | None = None
        self.judge = lambda _message: self.error

    def produce(self, **message: Any) -> None:
        if self.raises:
            raise self.raises
        if self.full_for:
            self.full_for -= 1
            raise BufferError("Local: Queue full")
        self.waiting.append((message.pop("on_delivery"), message))
        self.sent.append(message)

    def poll(self, _timeout: float) -> int:
        reports, self.waiting = (self.waiting, []) if self.answers else ([], self.waiting)
        for report, message in reports:
            report(self.judge(message), "the message")
        return len(reports)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    get_kafka_connection().reset()
    broker = Broker()
    monkeypatch.setattr(Order, "get_producer", classmethod(lambda _cls: broker))
    return broker


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        key_field = "order_id"

    order_id: Any = Field(default="o-1", exclude=True)
    amount: float = 1.0


def test_topic_key_and_value_are_those_of_the_model(broker):
    order = Order(order_id="ö")
    order.produce()
    assert broker.sent == [
        {"topic": "orders", "key": "ö".encode(), "value": codec_for(Order).encode(order)}
    ]


@pytest.mark.parametrize(("key", "sent"), [(7, b"7"), (b"\xff", b"\xff"), (None, None)])
def test_a_key_of_another_type_is_written_as_text(broker, key, sent):
    Order(order_id=key).produce()
    assert broker.sent[0]["key"] == sent


def test_key_and_headers_can_be_given(broker):
    Order().produce(key="own", headers={"trace": b"1"})
    assert broker.sent[0]["key"] == b"own"
    assert broker.sent[0]["headers"] == {"trace": b"1"}


def test_a_refused_message_is_an_error_with_the_brokers_reason(broker):
    broker.error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(ProducerError, match=r"topic orders.*too large"):
        Order().produce()


def test_an_unconfirmed_message_is_an_error_after_the_time_out(broker):
    broker.answers = False
    started = time.monotonic()
    with pytest.raises(ProducerError, match="may still be delivered"):
        Order().produce(timeout=0.1)
    assert time.monotonic() - started < 2


def test_the_callback_learns_the_outcome(broker):
    answers = []
    Order().produce(lambda error, message: answers.append((error, message)))
    assert answers == [(None, "the message")]


def test_produce_waits_for_its_own_message_only(broker):
    broker.answers = False
    Order().produce_nowait()  # never answered
    others = broker.waiting.copy()
    broker.waiting.clear()
    broker.answers = True
    Order().produce(timeout=5)
    assert len(others) == 1


def test_a_full_queue_is_waited_for(broker):
    broker.full_for = 3
    Order().produce()
    assert len(broker.sent) == 1


def test_a_queue_that_stays_full_is_an_error(broker):
    broker.full_for = 10**9
    with pytest.raises(ProducerError, match="queue stays full"):
        Order().produce(timeout=0.05)


def test_what_librdkafka_refuses_is_an_error(broker):
    broker.raises = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    with pytest.raises(ProducerError, match="topic orders"):
        Order().produce_nowait()


def test_a_value_that_does_not_fit_is_sent_nowhere(broker):
    with pytest.raises(SerializationError, match=r"Order\.amount"):
        Order.model_construct(order_id="x", amount=None).produce()
    assert broker.sent == []


def test_many_messages_are_sent_in_order_and_counted(broker):
    assert Order.produce_many(Order(order_id=i) for i in range(5)) == 5
    assert [message["key"] for message in broker.sent] == [b"0", b"1", b"2", b"3", b"4"]
    assert broker.waiting == []


def test_without_flush_nothing_is_waited_for(broker):
    assert Order.produce_many([Order()], flush=False) == 1
    assert len(broker.waiting) == 1


def test_one_failure_among_many_is_an_error_that_counts(broker):
    broker.error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(ProducerError, match=r"3 of 3 messages failed.*too large"):
        Order.produce_many([Order(), Order(), Order()])


def test_each_failure_is_listed_with_its_place_and_the_others_are_sent(broker):
    def refuse(message: dict[str, Any]) -> KafkaError | None:
        return KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED) if message["key"] == b"3" else None

    broker.judge = refuse
    messages = [Order(order_id=i) for i in range(5)]
    messages[1] = Order.model_construct(order_id=1, amount=None)
    with pytest.raises(
        ProducerError, match=r"2 of 5 messages failed; the first, at index 1"
    ) as caught:
        Order.produce_many(messages)
    (first, wrong), (second, refused) = caught.value.failures
    assert (first, second) == (1, 3)
    assert isinstance(wrong, SerializationError)
    assert isinstance(refused.__cause__, KafkaException)
    assert refused.__cause__.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert [message["key"] for message in broker.sent] == [b"0", b"2", b"3", b"4"]


def test_what_is_not_confirmed_in_time_is_listed_too(broker):
    broker.answers = False
    with pytest.raises(ProducerError) as caught:
        Order.produce_many([Order(), Order()], timeout=0.05)
    assert [index for index, _ in caught.value.failures] == [0, 1]
    assert all("may still be delivered" in str(error) for _, error in caught.value.failures)


def test_without_flush_wrong_messages_are_listed_all_the_same(broker):
    with pytest.raises(ProducerError) as caught:
        Order.produce_many([Order.model_construct(amount=None, order_id="x"), Order()], flush=False)
    assert [index for index, _ in caught.value.failures] == [0]
    assert len(broker.sent) == 1


def test_a_single_failure_lists_nothing(broker):
    broker.error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(ProducerError) as caught:
        Order().produce()
    assert caught.value.failures == ()


def test_partition_and_timestamp_can_be_given(broker):
    at = datetime(2024, 1, 1, 0, 0, 0, 1_500, UTC)
    Order().produce(partition=3, timestamp=at)
    Order().produce_nowait(partition=0, timestamp=at.replace(tzinfo=None))
    Order().produce(timestamp=1_700_000_000_000)
    first, second, third = broker.sent
    assert (first["partition"], first["timestamp"]) == (3, 1_704_067_200_001)
    assert (second["partition"], second["timestamp"]) == (0, 1_704_067_200_001)
    assert "partition" not in third
    assert third["timestamp"] == 1_700_000_000_000


@pytest.mark.parametrize("timestamp", [0, -1, datetime(1970, 1, 1, tzinfo=UTC)])
def test_a_timestamp_that_kafka_would_not_keep_is_refused(broker, timestamp):
    with pytest.raises(ValueError, match="after 1970"):
        Order().produce(timestamp=timestamp)
    assert broker.sent == []


def test_a_number_in_the_callbacks_place_is_the_time_out(broker):
    broker.answers = False
    started = time.monotonic()
    with pytest.raises(ProducerError, match="may still be delivered"):
        Order().produce(0.05)
    assert time.monotonic() - started < 8


def test_the_key_field_without_a_value_gives_no_key_and_a_given_key_goes_through_the_serializer(
    broker, monkeypatch
):
    monkeypatch.setattr(Order.Settings, "key_serializer", "json", raising=False)
    Order(order_id=None).produce()
    Order(order_id="a").produce()
    Order().produce(key={"a": 1})
    Order().produce(key=b"as it is")
    assert [message["key"] for message in broker.sent] == [None, b'"a"', b'{"a":1}', b"as it is"]


def test_a_model_with_json_values_produces_json(broker, monkeypatch):
    monkeypatch.setattr(Order.Settings, "value_serializer", "json", raising=False)
    Order(amount=2).produce()
    assert broker.sent[0]["value"] == b'{"amount":2.0}'


def test_a_lost_message_that_nobody_waits_for_is_told_in_the_log(broker, caplog):
    broker.error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    topic = f"orders-{uuid4()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Order.Settings, "topic", topic)
        for _ in range(5):
            Order().produce_nowait()
        broker.poll(0)
    (line,) = [record.getMessage() for record in caplog.records if topic in record.getMessage()]
    assert "was not delivered (1 so far)" in line


def test_a_callback_that_hears_of_it_keeps_it_out_of_the_log(broker, caplog):
    broker.error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    answers = []
    Order().produce_nowait(lambda error, _message: answers.append(error))
    broker.poll(0)
    assert answers == [broker.error]
    assert not caplog.records


def test_a_polled_producer_reports_without_being_polled_here(monkeypatch):
    class Silent(Broker):
        def poll(self, _timeout: float) -> int:
            raise AssertionError("the background thread polls")

        def produce(self, **message: Any) -> None:
            report = message["on_delivery"]
            threading.Timer(0.05, report, (None, "the message")).start()

    silent = Silent()
    monkeypatch.setattr(Order, "get_producer", classmethod(lambda _cls: silent))
    monkeypatch.setattr(type(get_kafka_connection()), "polls", lambda _self, p: p is silent)
    Order().produce(timeout=5)


def test_registering_without_a_registry_is_an_error_that_says_the_way_out():
    get_kafka_connection().reset()
    with pytest.raises(ConfigurationError, match="SCHEMA_REGISTRY_URL"):
        Order.register_schema()


def test_the_avro_dictionary_is_what_is_written():
    assert Order(amount=2).to_avro_dict() == {"amount": 2.0}


def test_a_lone_message_instead_of_several_is_an_error_that_says_so(broker):
    with pytest.raises(TypeError, match="list"):
        Order.produce_many(Order())
    assert broker.sent == []


def test_something_else_than_a_time_is_refused(broker):
    with pytest.raises(TypeError, match="milliseconds since 1970, got 'now'"):
        Order().produce(timestamp="now")


def test_another_messages_callback_is_not_called_by_who_waits_for_room(broker, monkeypatch):
    def angry(_error: Any, _message: Any) -> None:
        raise OSError("of the first message")

    monkeypatch.setattr(KafkaConnection, "polls", lambda _self, one: one is broker)
    Order().produce_nowait(angry)
    broker.full_for = 3
    Order().produce_nowait()
    assert len(broker.sent) == 2
    broker.waiting.clear()
