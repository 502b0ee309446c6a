"""What a batch commits, and what is read again when it fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from flowodm.connection import get_kafka_connection
from flowodm.consume.iterators import atake
from flowodm.consume.steps import Poison
from flowodm.exceptions import ConsumerError, DeserializationError, FencedError
from support.polled_topic import (
    PATIENCE,
    AsyncTopic,
    Failed,
    Order,
    Topic,
    batch,
    silent_topic,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    get_kafka_connection().reset()
    monkeypatch.setattr("flowodm.consume.steps.COMMIT_RETRY_SECONDS", 0.3)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    monkeypatch.setattr("flowodm.consume.consumer.COMMIT_TIMEOUT", 0.1)
    with silent_topic() as topic:
        yield topic


def test_a_batch_is_committed_in_each_of_its_partitions():
    topic = Topic(p0=[1, 2], p1=[3])
    assert batch(topic, 10) == [1, 2, 3]
    assert topic.committed == {0: 2, 1: 1}


def test_a_batch_of_none_asks_for_nothing():
    topic = Topic(p0=[1])
    started = time.monotonic()
    assert batch(topic, 0, timeout=PATIENCE) == []
    assert topic.position == {}
    assert time.monotonic() - started < PATIENCE / 2


def test_a_poison_record_behind_others_comes_first_in_the_next_batch_and_once():
    topic = Topic(p0=[1, -1, 2])
    assert batch(topic, 3) == [1]
    with pytest.raises(DeserializationError):
        batch(topic, 3)
    assert topic.committed == {0: 1}
    assert batch(topic, 3) == [2]


def test_a_partition_whose_commit_is_refused_is_left_out_and_comes_again(caplog):
    topic = Topic(p0=[1, 2], p1=[3])
    topic.refused = {0}
    assert batch(topic, 10) == [3]
    assert topic.committed == {1: 1}
    assert "topic orders, partition 0, offset 1: not committed" in caplog.text

    topic.refused = set()
    assert batch(topic, 10) == [1, 2]


def test_a_commit_that_fails_altogether_is_an_error_and_all_of_it_comes_again():
    topic = Topic(p0=[1, 2], p1=[3])
    topic.refused = {-1}
    with pytest.raises(ConsumerError, match="not committed"):
        batch(topic, 10)
    topic.refused = set()
    assert batch(topic, 10) == [1, 2, 3]


def test_a_commit_that_is_refused_during_a_rebalance_is_made_after_it():
    topic = Topic(p0=[1], p1=[2])
    answers: list[Any] = [KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS]
    original = topic.commit

    def commit(**options: Any) -> Any:
        if answers:
            raise KafkaException(KafkaError(answers.pop(0)))
        return original(**options)

    topic.commit = commit  # type: ignore[method-assign]  # a rebalance
    assert batch(topic, 2) == [1, 2]
    assert topic.committed == {0: 1, 1: 1}


def test_a_partition_that_went_to_another_member_is_neither_returned_nor_committed():
    topic = Topic(p0=[1], p1=[2])
    taken_away = topic.poll

    def poll(timeout: float) -> Any:
        record = taken_away(timeout)
        if record is None:
            topic.mine = {1}
        return record

    topic.poll = poll  # type: ignore[method-assign]  # a rebalance in the midst of it
    assert batch(topic, 10, timeout=0.05) == [2]
    assert topic.committed == {1: 1}


def test_an_error_behind_messages_gives_them_all_back():
    topic = Topic(p0=[1, 2])
    records = [topic.poll(0), topic.poll(0)]
    topic.events = [*records, Failed(KafkaError.GROUP_AUTHORIZATION_FAILED)]
    with pytest.raises(ConsumerError):
        batch(topic, 10)
    assert topic.committed == {}
    assert batch(topic, 10) == [1, 2]


def test_a_member_that_was_replaced_says_so():
    topic = Topic(p0=[1])
    topic.events = [Failed(KafkaError.FENCED_INSTANCE_ID)]
    with pytest.raises(FencedError):
        batch(topic, 1)


def test_messages_whose_commit_is_never_answered_are_returned_in_time(silent, caplog):
    # They may have been committed: what is not returned now might never come again.
    assert batch(silent, 2, timeout=PATIENCE) == [1, 2]
    assert "has not answered a commit" in caplog.text
    assert silent.closed is True  # so that the next call makes another consumer


def test_who_waits_for_another_s_turn_gets_nothing_in_time():
    topic = Topic(p0=[1])
    with topic.turn:
        assert batch(topic, 1, timeout=0.01) == []
    assert batch(topic, 1) == [1]


def test_an_interrupted_batch_gives_everything_back():
    topic = Topic(p0=[1, 2])
    records = [topic.poll(0), topic.poll(0)]

    def poll(_timeout: float) -> Any:
        if records:
            return records.pop(0)
        raise KeyboardInterrupt

    original, topic.poll = topic.poll, poll  # type: ignore[method-assign]  # Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        batch(topic, 3)
    topic.poll = original  # type: ignore[method-assign]  # and on
    assert batch(topic, 3) == [1, 2]
    assert not topic.turn.locked()


async def test_cancelled_in_its_poll_a_call_gives_the_record_back():
    topic = Topic(p0=[1])
    held = AsyncTopic(topic, "poll")
    await _cancelled(held, lambda: atake(held, Order, 1, PATIENCE, Poison.RAISE))
    assert topic.committed == {}
    assert batch(topic, 1) == [1]


async def test_cancelled_in_its_commit_a_call_takes_the_commit_back():
    topic = Topic(p0=[1, 2])
    assert batch(topic, 1) == [1]
    held = AsyncTopic(topic, "commit")
    await _cancelled(held, lambda: atake(held, Order, 1, PATIENCE, Poison.RAISE))
    assert topic.history == [1, 2, 1]
    assert batch(topic, 1) == [2]


async def test_cancelled_twice_it_still_gives_everything_back():
    topic = Topic(p0=[1], p1=[2])
    held = AsyncTopic(topic, "seek")
    task = asyncio.ensure_future(atake(held, Order, 3, PATIENCE, Poison.RAISE))
    await until(lambda: topic.position[1] == 1)
    task.cancel()
    await asyncio.wait_for(held.entered.wait(), PATIENCE)
    task.cancel()
    await asyncio.sleep(0)
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert batch(topic, 2) == [1, 2]


async def _cancelled(held: AsyncTopic, call: Callable[[], Any]) -> None:
    """Cancel the call while its consumer is held, and let that go on only then."""
    task = asyncio.ensure_future(call())
    await asyncio.wait_for(held.entered.wait(), PATIENCE)
    task.cancel()
    await asyncio.sleep(0)
    held.hold = ""
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
