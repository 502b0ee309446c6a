"""What the brokers' answers come to."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flowodm.consumer.kafka.stalls import ASK_EVERY, StallDetector

A, B = ("orders", 0), ("orders", 1)


class Brokers:
    """In the consumer's place."""

    def __init__(self):
        self.ends = {A: 10, B: 10}
        self.asked = []

    def offsets_for_times(self, partitions, timeout):
        self.asked.append({(p.topic, p.partition) for p in partitions})
        if not self.ends:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [
            TopicPartition(p.topic, p.partition, self.ends[p.topic, p.partition])
            for p in partitions
        ]


@pytest.fixture
def brokers():
    return Brokers()


def look(standing, idle, times):
    """Look at the same several times, each time when it is time for a question."""
    for number in range(times):
        behind = standing.look(idle, number * ASK_EVERY)
    return behind


def test_what_stands_below_its_logs_end_is_behind(brokers):
    assert look(StallDetector(brokers), {A: 7, B: 10}, 3) == {A: 7}


def test_it_is_no_more_as_soon_as_it_moves_or_is_in_hand(brokers):
    standing = StallDetector(brokers)
    assert look(standing, {A: 7}, 3) == {A: 7}
    assert standing.look({A: 8}, 2.1 * ASK_EVERY) == {}
    assert standing.look({}, 2.2 * ASK_EVERY) == {}


def test_nobody_is_asked_about_what_moves(brokers):
    standing = StallDetector(brokers)
    for number in range(5):
        standing.look({A: number}, number * ASK_EVERY)
    assert brokers.asked == []


def test_while_the_brokers_do_not_answer_nothing_is_behind(brokers):
    standing = StallDetector(brokers)
    assert look(standing, {A: 7}, 3) == {A: 7}
    brokers.ends = {}
    assert standing.look({A: 7}, 3 * ASK_EVERY) == {}


def test_the_brokers_are_asked_seldom(brokers):
    standing = StallDetector(brokers)
    look(standing, {A: 7}, 2)
    assert len(brokers.asked) == 1
    assert standing.look({A: 7}, 1.9 * ASK_EVERY) == {A: 7}
    assert len(brokers.asked) == 1
