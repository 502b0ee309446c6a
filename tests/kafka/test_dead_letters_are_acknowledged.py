"""A dead letter has arrived, whole, when send() returns; and else send() says so in time."""

from __future__ import annotations

import logging
import struct
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowodm import ConfigurationError, ProducerError, connect, get_producer
from flowodm.consumer.dead_letters import topic as dead_letter
from flowodm.consumer.dead_letters.topic import DeadLetterTopic
from support.brokers.jvm import free_port
from support.brokers.records import Raw, create_topic, produce, read_all

PATIENCE = 30.0


@pytest.fixture
def fetched(kafka, new_topic):
    """``fetched(*raws)``: the records as a consumer gets them, in partition 0 of a new topic."""
    connect(bootstrap_servers=kafka)

    def fetch(*raws):
        source = new_topic(1)
        produce(kafka, source, raws)
        return read_all(kafka, source)

    return fetch


@pytest.mark.parametrize(
    "raw",
    [
        Raw(b"the value", b"the key", 0, (("a", b"1"), ("b", None), ("a", b"\xff"))),
        Raw(None, b"k", 0),
        Raw(b"", b"", 0, (("empty", b""),)),
        Raw(b"\x00\xff", None, 0),
    ],
    ids=["all", "tombstone", "empty", "no key"],
)
def test_a_dead_letter_has_the_records_bytes_key_and_headers(fetched, kafka, topic, raw):
    (record,) = fetched(raw)

    DeadLetterTopic(topic, "shop").send(record, LookupError("no such order"))

    (letter,) = read_all(kafka, topic)
    assert (letter.key(), letter.value()) == (raw.key, raw.value)
    headers = letter.headers()
    assert tuple(headers[: len(raw.headers)]) == raw.headers
    said = dict(headers[len(raw.headers) :])
    assert said["kafka_dlt-original-topic"] == record.topic().encode()
    assert said["kafka_dlt-original-partition"] == struct.pack(">i", 0)
    assert said["kafka_dlt-original-offset"] == struct.pack(">q", 0)
    assert said["kafka_dlt-original-timestamp"] == struct.pack(">q", record.timestamp()[1])
    assert said["kafka_dlt-original-timestamp-type"] == b"CreateTime"
    assert said["kafka_dlt-original-consumer-group"] == b"shop"
    assert said["kafka_dlt-exception-fqcn"] == b"LookupError"
    assert said["kafka_dlt-exception-message"] == b"no such order"


def test_many_threads_may_send_at_the_same_time(fetched, kafka, topic):
    records = fetched(*(Raw(b"%d" % n, None, 0) for n in range(200)))
    dead_letters = DeadLetterTopic(topic, "shop")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda record: dead_letters.send(record, ValueError()), records))

    values = sorted(letter.value() for letter in read_all(kafka, topic))
    assert values == sorted(b"%d" % n for n in range(200))


def test_send_returns_only_when_the_broker_has_acknowledged(fetched, kafka, kafka_server, topic):
    first, second = fetched(Raw(b"1", None, 0), Raw(b"2", None, 0))
    dead_letters, returned = DeadLetterTopic(topic, "shop"), threading.Event()
    dead_letters.send(first, ValueError())  # the producer knows its way

    def send():
        dead_letters.send(second, ValueError())
        returned.set()

    with ThreadPoolExecutor(1) as pool:
        with kafka_server.frozen():
            sending = pool.submit(send)
            assert not returned.wait(0.5)
        sending.result(PATIENCE)
    assert len(read_all(kafka, topic)) == 2


def test_what_is_not_acknowledged_in_time_is_an_error_that_names_the_record(
    fetched, kafka_server, topic, monkeypatch
):
    (record,) = fetched(Raw(b"1", None, 0))
    dead_letters = DeadLetterTopic(topic, "shop")
    dead_letters.send(record, ValueError())
    monkeypatch.setattr(dead_letter, "SEND_TIMEOUT", 0.5)

    with kafka_server.frozen(), pytest.raises(ProducerError, match="in time") as caught:
        dead_letters.send(record, ValueError())

    assert f"topic {record.topic()}, partition 0, offset 0" in str(caught.value)
    assert topic in str(caught.value)


def test_what_librdkafka_gives_up_is_an_error_that_names_the_record(fetched):
    (record,) = fetched(Raw(b"1", None, 0))
    producer = {"log_level": 0, "message.timeout.ms": 300}
    connect(bootstrap_servers=f"127.0.0.1:{free_port()}", producer_config=producer)

    with pytest.raises(ProducerError, match=f"{record.topic()}, partition 0, offset 0"):
        DeadLetterTopic("nowhere.DLT", "shop").send(record, ValueError())


def test_a_dead_letter_that_is_too_large_goes_without_its_stack_trace(fetched, kafka, new_topic):
    (record,) = fetched(Raw(b"x" * 1_000, b"k", 0, (("own", b"1"),)))
    topic = new_topic(1, {"max.message.bytes": "2500"})

    DeadLetterTopic(topic, "shop").send(record, ValueError("far too long " * 200))

    (letter,) = read_all(kafka, topic)
    said = dict(letter.headers())
    assert letter.value() == b"x" * 1_000
    assert said["own"] == b"1"
    assert said["kafka_dlt-exception-message"].startswith(b"far too long")
    assert "kafka_dlt-exception-stacktrace" not in said


@pytest.mark.parametrize("size", [10_000, 2_000_000], ids=["for the broker", "for the producer"])
def test_one_that_is_too_large_by_itself_is_an_error_with_a_way_out(
    fetched, kafka, new_topic, size
):
    source = new_topic(1, {"max.message.bytes": "4000000"})
    connect(producer_config={"message.max.bytes": 4_000_000})
    get_producer().produce(source, b"x" * size)
    get_producer().flush(PATIENCE)
    (record,) = read_all(kafka, source)
    topic = new_topic(1, {"max.message.bytes": "2500"})

    with pytest.raises(ProducerError, match=r"max\.message\.bytes") as caught:
        DeadLetterTopic(topic, "shop").send(record, ValueError())

    assert f"topic {source}, partition 0, offset 0" in str(caught.value)
    assert read_all(kafka, topic) == []


# ---- check() -------------------------------------------------------------------------------


def test_a_topic_that_exists_passes_the_check(kafka, topic):
    connect(bootstrap_servers=kafka)

    DeadLetterTopic(topic, "shop").check("orders")


@pytest.mark.parametrize("name", ["no-such-topic.DLT", "not a topic!"])
def test_a_topic_that_does_not_exist_is_a_configuration_error_with_a_way_out(kafka, name):
    connect(bootstrap_servers=kafka)

    with pytest.raises(ConfigurationError, match="create it before") as caught:
        DeadLetterTopic(name, "shop").check("orders")

    assert name in str(caught.value)


def test_a_topic_that_is_made_just_now_passes_the_check(kafka):
    connect(bootstrap_servers=kafka)
    name = f"late-{uuid.uuid4().hex[:8]}.DLT"

    with ThreadPoolExecutor(1) as pool:
        checking = pool.submit(DeadLetterTopic(name, "shop").check, "orders")
        create_topic(kafka, name, 1)
        checking.result(PATIENCE)


def test_the_consumed_topic_itself_is_a_configuration_error_without_asking_anybody():
    with pytest.raises(ConfigurationError, match=r"orders\.DLT"):
        DeadLetterTopic("orders", "shop").check("orders")


def test_a_broker_that_does_not_answer_is_no_configuration_error(caplog, monkeypatch):
    monkeypatch.setattr(dead_letter, "ANSWER_TIMEOUT", 0.3)
    connect(bootstrap_servers=f"127.0.0.1:{free_port()}", producer_config={"log_level": 0})

    with caplog.at_level(logging.WARNING, "flowodm.consumer"):
        DeadLetterTopic("orders.DLT", "shop").check("orders")

    assert "orders.DLT is not checked" in caplog.text
