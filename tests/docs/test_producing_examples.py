"""docs/producing.md: its examples run in their order on a real Kafka, and do what the text says."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from flowodm import get_kafka_connection
from support.brokers.records import create_topic, read_all
from support.loops import PATIENCE
from support.waiting import wait_until

TEXT = (Path(__file__).parents[2] / "docs" / "producing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
MODEL, ONE, MANY, COROUTINES, NOWAIT, TIMEOUT, DETAILS, JSON, CLOSE, ELSEWHERE = BLOCKS


class Writer:
    """Types the examples into one program, with topics of its own."""

    def __init__(self, kafka):
        self.kafka = kafka
        self.mark = uuid.uuid4().hex[:8]
        self.names = {"__name__": "examples"}
        self.executes(MODEL)

    def executes(self, block):
        source = block.replace("localhost:9092", self.kafka)
        source = re.sub(r'topic = "(\w+)"', rf'topic = "\1-{self.mark}"', source)
        for topic in re.findall(r'topic = "([\w-]+)"', source):
            create_topic(self.kafka, topic, 1)
        exec(compile(source, "producing.md", "exec", dont_inherit=True), self.names)

    def records(self, topic="orders"):
        return read_all(self.kafka, f"{topic}-{self.mark}")


@pytest.fixture
def writer(kafka):
    return Writer(kafka)


def test_one_message_is_there_when_produce_returns(writer):
    writer.executes(ONE)
    assert [record.key() for record in writer.records()] == [b"c-7"]


def test_many_are_there_when_produce_many_returns(writer, capsys):
    writer.executes(MANY)
    assert len(writer.records()) == 1_000
    assert capsys.readouterr().out == ""


def test_the_failures_of_many_are_printed_by_their_order(writer, capsys):
    model = writer.names["OrderEvent"]
    wrong = model.model_construct(order_id="o-1", customer_id="c", amount="much")
    block = MANY.replace("try:", "orders[1] = wrong\ntry:")
    writer.names["wrong"] = wrong
    writer.executes(block)
    out = capsys.readouterr().out
    assert re.fullmatch(r"not delivered: o-1: OrderEvent\.amount cannot be written.*\n", out)
    assert len(writer.records()) == 999


def test_coroutines_send_one_and_many(writer):
    writer.executes(COROUTINES)
    assert len(writer.records()) == 1_001


def test_what_is_not_waited_for_arrives(writer):
    writer.executes(NOWAIT)
    wait_until(writer.records, PATIENCE, "the record is there")


def test_the_longest_time_that_librdkafka_tries_can_be_set(writer):
    writer.executes(TIMEOUT)
    assert get_kafka_connection().producer_config()["message.timeout.ms"] == 8_000
    writer.executes(ONE)


def test_key_headers_partition_and_time_are_the_given_ones(writer):
    writer.executes(DETAILS)
    (record,) = writer.records()
    assert (record.key(), record.partition()) == (b"vip", 0)
    assert record.headers() == [("traceparent", b"00-4bf9")]
    assert record.timestamp()[1] == 1_769_860_800_000


def test_json_values_are_json(writer):
    writer.executes(JSON)
    assert [r.value() for r in writer.records("payments")] == [b'{"payment_id":"p-1","amount":3.0}']


def test_closing_delivers_what_is_under_way(writer):
    writer.executes(NOWAIT)
    writer.executes(CLOSE)
    assert len(writer.records()) == 1


def test_a_class_may_use_another_producer(writer):
    writer.executes(ELSEWHERE)
    assert len(writer.records("audit")) == 1
