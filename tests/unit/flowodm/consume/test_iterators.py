"""What an iteration commits, when it ends, and what is read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flowodm.connection import get_kafka_connection
from flowodm.consume.iterators import AsyncMessages, IterationOptions, Messages
from flowodm.consume.steps import COMMIT_INTERVAL, Poison
from flowodm.exceptions import ConsumerError, DeserializationError
from support.polled_topic import (
    AsyncTopic,
    Order,
    Tombstone,
    Topic,
    batch,
    iterate,
    silent_topic,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    get_kafka_connection().reset()
    monkeypatch.setattr("flowodm.consume.steps.COMMIT_RETRY_SECONDS", 0.3)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    monkeypatch.setattr("flowodm.consume.consumer.COMMIT_TIMEOUT", 0.1)
    with silent_topic() as topic:
        yield topic


def test_an_iteration_whose_commit_is_never_answered_ends_in_time_with_an_error(silent):
    messages = iterate(silent)
    next(messages)
    with pytest.raises(ConsumerError, match="has not answered a commit"):
        messages.close()


def test_an_iteration_commits_what_was_handled_once_an_interval(monkeypatch):
    monkeypatch.setattr("flowodm.consume.steps.COMMIT_INTERVAL", 0.0)
    topic = Topic(p0=[1, 2, 3])
    with iterate(topic) as messages:
        next(messages)
        assert topic.history == []
        next(messages)
        next(messages)
        # The one that was handed out last is never among them.
        assert topic.history == [1, 2]
        assert next(messages, None) is None
    assert topic.history == [1, 2, 3]
    assert COMMIT_INTERVAL == 1.0


def test_joining_the_group_does_not_count_as_waiting_for_a_message():
    topic = Topic(p0=[1])
    topic.mine = set()
    polls = iter([None, None, lambda: topic.mine.add(0)])
    original = topic.poll

    def poll(timeout: float) -> Any:
        joining = next(polls, None)
        record = original(timeout)
        if joining is not None:
            joining()
        return record

    topic.poll = poll  # type: ignore[method-assign]  # slow to join
    assert [order.n for order in iterate(topic, timeout=0.0)] == [1]


def test_an_iteration_that_gets_no_partitions_ends_all_the_same(monkeypatch):
    monkeypatch.setattr("flowodm.consume.steps.JOIN_TIMEOUT", 0.0)
    topic = Topic(p0=[1])
    topic.mine = set()
    assert list(iterate(topic)) == []


def test_a_refused_commit_of_an_interval_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr("flowodm.consume.steps.COMMIT_INTERVAL", 0.0)
    topic = Topic(p0=[1], p1=[2, 3])
    topic.refused = {0}
    with iterate(topic) as messages:
        assert [next(messages).n, next(messages).n, next(messages).n] == [1, 2, 3]
        assert "partition 0, offset 0: not committed" in caplog.text
        assert topic.committed == {1: 1}
        topic.refused = set()
    assert topic.committed == {0: 1, 1: 2}


def test_a_message_whose_body_failed_is_not_committed():
    topic = Topic(p0=[1, 2])

    def consume() -> None:
        with iterate(topic) as messages:
            for message in messages:
                if message.n == 2:
                    raise KeyError

    with pytest.raises(KeyError):
        consume()
    assert topic.committed == {0: 1}


def test_a_consumer_that_another_iteration_has_is_not_shared(monkeypatch):
    taken, free = Topic(p0=[1]), Topic(p0=[2])
    monkeypatch.setattr(
        get_kafka_connection(), "lend", lambda consumer: None if consumer is taken else True
    )
    consumers = [taken, free]
    options = IterationOptions(Order, None, 0.0, Poison.RAISE)
    assert [order.n for order in Messages(options, lambda: consumers.pop(0))] == [2]
    assert (taken.closed, free.closed) == (False, True)


def test_the_last_commit_s_failure_is_an_error():
    topic = Topic(p0=[1])
    messages = iterate(topic)
    next(messages)
    topic.refused = {0}
    with pytest.raises(ConsumerError, match="not committed"):
        messages.close()
    messages.close()


def test_an_error_of_the_body_is_not_hidden_by_that_of_the_commit(caplog):
    topic = Topic(p0=[1, 2])

    def consume() -> None:
        with iterate(topic) as messages:
            for message in messages:
                if message.n == 2:
                    topic.refused = {0}
                    raise KeyError

    with pytest.raises(KeyError):
        consume()
    assert "not committed" in caplog.text


def test_what_was_not_handled_is_given_back_to_a_consumer_of_the_caller_s_own():
    topic = Topic(p0=[1, 2, 3])
    for message in iterate(topic):
        if message.n == 2:
            break
    assert topic.closed is False
    assert topic.committed == {0: 1}
    assert batch(topic, 10) == [2, 3]


def test_an_iteration_passes_tombstones_over():
    topic = Topic(p0=[1, 2])
    topic.events = [Tombstone()]
    assert [order.n for order in iterate(topic)] == [1, 2]


def test_an_iteration_that_nobody_began_leaves_no_trace():
    topic = Topic(p0=[1])
    asked: list[Topic] = []
    options = IterationOptions(Order, None, 0.0, Poison.RAISE)
    messages = Messages(options, lambda: asked.append(topic) or topic)
    messages.close()
    assert list(messages) == []
    assert asked == []


def test_a_poison_record_ends_an_iteration_for_good():
    topic = Topic(p0=[1, -1])
    messages = iterate(topic)
    assert next(messages).n == 1
    with pytest.raises(DeserializationError):
        next(messages)
    assert next(messages, None) is None
    assert topic.committed == {0: 1}


async def test_a_bare_async_for_that_is_left_commits_what_was_handled():
    topic = Topic(p0=[1, 2, 3])
    options = IterationOptions(Order, None, 0.0, Poison.RAISE)

    async def consumer() -> Topic:
        return topic

    async for message in AsyncMessages(options, consumer):
        if message.n == 2:
            break
    await until(lambda: topic.committed == {0: 1})


async def test_the_end_of_an_async_with_commits_the_last_one_too():
    topic = Topic(p0=[1, 2, 3])
    options = IterationOptions(Order, None, 0.0, Poison.RAISE)

    async def consumer() -> AsyncTopic:
        return AsyncTopic(topic)

    async with AsyncMessages(options, consumer) as messages:
        async for message in messages:
            if message.n == 2:
                break
    assert topic.committed == {0: 2}
