"""In which order pinned partitions are asked for."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flowodm.consumer.kafka.membership import Membership
from flowodm.consumer.stop import StopSwitch


@pytest.fixture
def consumer():
    made = MagicMock()
    made.committed.return_value = [TopicPartition("orders", 3, 17)]
    return made


@pytest.fixture
def pinned(consumer):
    source = SimpleNamespace(topic="orders", partitions=(3,), config={}, start=None)
    return Membership(consumer, source, MagicMock(), StopSwitch(30.0), MagicMock(), MagicMock())


def order(consumer):
    return [name for name, *_ in consumer.method_calls if name != "resume"]


def test_the_topic_is_asked_for_before_what_is_committed_or_the_first_record_is_a_second_late(
    consumer, pinned
):
    pinned.join()
    assert order(consumer) == ["list_topics", "committed", "assign"]
    assert consumer.list_topics.call_args.args == ("orders",)


def test_brokers_that_do_not_answer_that_do_not_keep_it_from_joining(consumer, pinned):
    consumer.list_topics.side_effect = KafkaException(KafkaError(KafkaError._TRANSPORT))
    pinned.join()
    assert order(consumer)[-1] == "assign"
