"""Consuming without a loop commits the returned messages, and only those."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flowodm.avro import wire
from flowodm.avro.codec import codec_for
from flowodm.connection import connect, get_kafka_connection
from flowodm.exceptions import (
    ConsumerError,
    DeserializationError,
    RegistryUnavailableError,
    SettingsError,
    TopicError,
)
from flowodm.model import FlowBaseModel
from flowodm.settings import BaseSettings, RealTimeSettings


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "g"

    amount: float = 1.0


class Record:
    def __init__(self, offset: int, value: bytes | None, error: KafkaError | None = None) -> None:
        self._offset, self._value, self._error = offset, value, error

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def error(self) -> KafkaError | None:
        return self._error


class Partition:
    """A consumer's face over one partition."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.position = 0
        self.committed: list[int] = []
        self.commit_error: Exception | None = None
        self.asked: list[Any] = []
        self.mine = True

    def poll(self, _timeout: float) -> Record | None:
        if self.position >= len(self.log):
            return None
        self.position += 1
        return self.log[self.position - 1]

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("orders", 2)] if self.mine else []

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert asynchronous is False
        if self.commit_error:
            raise self.commit_error
        self.committed += [place.offset for place in offsets]
        assert [(place.topic, place.partition) for place in offsets] == [("orders", 2)]
        return offsets

    def seek(self, place: TopicPartition) -> None:
        self.position = place.offset


@pytest.fixture
def partition(monkeypatch: pytest.MonkeyPatch) -> Partition:
    get_kafka_connection().reset()
    monkeypatch.setattr("flowodm.consume.steps.COMMIT_RETRY_SECONDS", 0.1)
    partition = Partition()

    def get_consumer(_cls: type, *asked: Any) -> Partition:
        partition.asked.append(asked)
        return partition

    monkeypatch.setattr(Order, "get_consumer", classmethod(get_consumer))
    return partition


def good(offset: int) -> Record:
    return Record(offset, codec_for(Order).encode(Order(amount=offset)))


def failed(code: int) -> Record:
    return Record(0, None, KafkaError(code))


def test_each_message_is_committed_when_it_is_returned(partition):
    partition.log = [good(0), good(1)]
    assert Order.consume_one() == Order(amount=0)
    assert partition.committed == [1]
    assert Order.consume_one() == Order(amount=1)
    assert partition.committed == [1, 2]


def test_nothing_in_time_is_none_and_commits_nothing(partition):
    assert Order.consume_one(timeout=0.0) is None
    assert partition.committed == []


def test_a_tombstone_is_passed_over(partition):
    partition.log = [Record(0, None), good(1)]
    assert Order.consume_one() == Order(amount=1)
    assert partition.committed == [2]


def test_a_poison_record_raises_with_its_place_and_is_not_committed(partition):
    partition.log = [Record(0, b"!"), good(1)]
    with pytest.raises(DeserializationError) as caught:
        Order.consume_one()
    error = caught.value
    assert (error.topic, error.partition, error.offset) == ("orders", 2, 0)
    assert partition.committed == []
    assert Order.consume_one() == Order(amount=1)


def test_a_failed_commit_raises_and_the_record_comes_again(partition):
    partition.log = [good(0)]
    partition.commit_error = KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
    with pytest.raises(ConsumerError, match="topic orders, partition 2, offset 0: not committed"):
        Order.consume_one()
    partition.commit_error = None
    assert Order.consume_one() == Order(amount=0)


def test_a_commit_refused_for_the_partition_raises(partition, monkeypatch):
    partition.log = [good(0)]

    class Refused:
        topic, partition, offset = "orders", 2, 1
        error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)

    monkeypatch.setattr(partition, "commit", lambda **_kwargs: [Refused()])
    with pytest.raises(ConsumerError, match="not committed"):
        Order.consume_one()


def test_a_registry_that_does_not_answer_loses_nothing(partition):
    connect(schema_registry_url="http://127.0.0.1:1")
    partition.log = [Record(0, wire.header(5) + b"x")]
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            Order.consume_one()
        assert partition.position == 0
    assert partition.committed == []


@pytest.mark.parametrize("code", [KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED])
def test_what_mends_itself_is_waited_out(partition, code):
    partition.log = [failed(code), good(1)]
    assert Order.consume_one() == Order(amount=1)


def test_a_missing_topic_is_a_topic_error(partition):
    partition.log = [failed(KafkaError.UNKNOWN_TOPIC_OR_PART)]
    with pytest.raises(TopicError, match="topic orders"):
        Order.consume_one()


def test_any_other_error_is_a_consumer_error(partition):
    partition.log = [failed(KafkaError.GROUP_AUTHORIZATION_FAILED)]
    with pytest.raises(ConsumerError):
        Order.consume_one()


@pytest.mark.parametrize(
    "settings",
    [None, RealTimeSettings(), BaseSettings(extra_config={"enable.auto.commit": True})],
)
def test_no_profile_commits_behind_its_back(partition, settings):
    Order.consume_one(0.0, "other", settings)
    ((group, used),) = partition.asked
    assert group == "other"
    assert used.to_consumer_config()["enable.auto.commit"] is False
    assert settings is None or settings.to_consumer_config()["enable.auto.commit"] is True


def test_a_model_without_a_group_is_an_error_that_names_it():
    class Groupless(FlowBaseModel):
        class Settings:
            topic = "t"

    with pytest.raises(SettingsError, match="Groupless has no consumer group"):
        Groupless.consume_one()


@pytest.mark.parametrize(
    "consume",
    [
        lambda: Order.consume_one(timeout=-1),
        lambda: next(Order.consume_iter(timeout=-1)),
        lambda: next(Order.consume_iter()),
    ],
    ids=["one", "iteration", "iteration by default"],
)
def test_a_negative_time_out_is_none_as_kafkas_is(partition, monkeypatch, consume):
    monkeypatch.setattr("flowodm.consume.steps.JOIN_TIMEOUT", 0.0)
    nothing_yet = [None, None, None]
    poll = partition.poll
    monkeypatch.setattr(partition, "poll", lambda s: nothing_yet.pop() if nothing_yet else poll(s))
    partition.log = [good(0)]
    assert consume() == Order(amount=0)


@pytest.mark.parametrize("call", [Order.consume_iter, Order.aconsume_iter])
def test_a_wrong_argument_is_an_error_at_once(call):
    with pytest.raises(ValueError, match="max_messages=-1"):
        call(max_messages=-1)
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        call(on_poison="ignore")
