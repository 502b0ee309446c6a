"""What is committed and what comes again, whichever way taking messages goes wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flowodm.connection import get_kafka_connection
from flowodm.consume.iterators import AsyncMessages, IterationOptions, Messages, atake, take
from flowodm.consume.steps import COMMIT_INTERVAL, Poison
from flowodm.exceptions import ConsumerError, DeserializationError, FencedError
from flowodm.model import FlowBaseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 10.0
POISON = b"\xff"


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"

    n: int


class Record:
    def __init__(self, partition: int, offset: int, value: bytes) -> None:
        self._partition, self._offset, self._value = partition, offset, value

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def error(self) -> None:
        return None


class Tombstone(Record):
    def __init__(self) -> None:
        super().__init__(0, 0, b"")

    def value(self) -> Any:
        return None


class Failed:
    def __init__(self, code: int) -> None:
        self._error = KafkaError(code)

    def topic(self) -> str:
        return "orders"

    def error(self) -> KafkaError:
        return self._error


class Answer:
    def __init__(self, place: TopicPartition, error: KafkaError | None) -> None:
        self.topic, self.partition, self.offset = place.topic, place.partition, place.offset
        self.error = error


class Topic:
    """A consumer's face over some partitions with the values of their records; -1 is poison."""

    def __init__(self, **partitions: list[int]) -> None:
        self.logs = {int(name[1:]): values for name, values in partitions.items()}
        self.position: dict[int, int] = defaultdict(int)
        self.committed: dict[int, int] = {}
        self.history: list[int] = []
        self.refused: set[int] = set()
        self.mine = set(self.logs)
        self.closed = False
        self.events: list[Any] = []
        self.turn = threading.Lock()

    def poll(self, _timeout: float) -> Any:
        if self.closed:
            raise RuntimeError("Consumer closed")
        if self.events:
            return self.events.pop(0)
        for partition, values in self.logs.items():
            if partition in self.mine and self.position[partition] < len(values):
                offset = self.position[partition]
                self.position[partition] += 1
                value = values[offset]
                return Record(partition, offset, bytes([2 * value]) if value >= 0 else POISON)
        return None

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("orders", partition) for partition in self.mine]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[Answer]:
        assert asynchronous is False
        if -1 in self.refused:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        answers = []
        for place in offsets:
            refused = place.partition in self.refused
            if not refused:
                self.committed[place.partition] = place.offset
                self.history.append(place.offset)
            error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED) if refused else None
            answers.append(Answer(place, error))
        return answers

    def seek(self, place: TopicPartition) -> None:
        if place.partition not in self.mine:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.position[place.partition] = place.offset

    def close(self) -> None:
        self.closed = True


class AsyncTopic:
    """The same with awaitables; ``hold`` names a call that waits until it is let go."""

    def __init__(self, topic: Topic, hold: str = "") -> None:
        self.topic = topic
        self.hold = hold
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == self.hold:
            self.entered.set()
            await self.go.wait()
        return getattr(self.topic, name)(*args, **kwargs)

    async def poll(self, timeout: float) -> Any:  # noqa: ASYNC109 - as Kafka's
        await asyncio.sleep(0)
        return await self._call("poll", timeout)

    async def assignment(self) -> Any:
        return await self._call("assignment")

    async def commit(self, **kwargs: Any) -> Any:
        return await self._call("commit", **kwargs)

    async def seek(self, place: TopicPartition) -> None:
        await self._call("seek", place)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    get_kafka_connection().reset()
    monkeypatch.setattr("flowodm.consume.steps.COMMIT_RETRY_SECONDS", 0.3)


def batch(topic: Topic, size: int, timeout: float = 0.0, poison: Poison = Poison.RAISE) -> Any:
    return [order.n for order in take(topic, Order, size, timeout, poison)]


def iterate(topic: Topic, **wanted: Any) -> Messages[Order]:
    options = {"max_messages": None, "timeout": 0.0, "poison": Poison.RAISE, **wanted}
    return Messages(IterationOptions(Order, **options), lambda: topic)


# ---- batches


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


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    """A topic whose commits are never answered, and which lets nobody in meanwhile."""
    monkeypatch.setattr("flowodm.consume.consumer.COMMIT_TIMEOUT", 0.1)
    topic, answer = Topic(p0=[1, 2]), threading.Event()

    def commit(**_options: Any) -> None:
        for name in ("poll", "seek", "assignment", "close"):
            setattr(topic, name, lambda *_: pytest.fail("nothing comes back from there"))
        answer.wait(PATIENCE)

    topic.commit = commit  # type: ignore[method-assign]  # a broker that says nothing
    yield topic
    answer.set()


def test_messages_whose_commit_is_never_answered_are_returned_in_time(silent, caplog):
    # They may have been committed: what is not returned now might never come again.
    assert batch(silent, 2, timeout=PATIENCE) == [1, 2]
    assert "has not answered a commit" in caplog.text
    assert silent.closed is True  # so that the next call makes another consumer


def test_an_iteration_whose_commit_is_never_answered_ends_in_time_with_an_error(silent):
    messages = iterate(silent)
    next(messages)
    with pytest.raises(ConsumerError, match="has not answered a commit"):
        messages.close()


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


# ---- iterations


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


# ---- coroutines


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
    await _until(lambda: topic.position[1] == 1)
    task.cancel()
    await asyncio.wait_for(held.entered.wait(), PATIENCE)
    task.cancel()
    await asyncio.sleep(0)
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert batch(topic, 2) == [1, 2]


async def test_a_bare_async_for_that_is_left_commits_what_was_handled():
    topic = Topic(p0=[1, 2, 3])
    options = IterationOptions(Order, None, 0.0, Poison.RAISE)

    async def consumer() -> Topic:
        return topic

    async for message in AsyncMessages(options, consumer):
        if message.n == 2:
            break
    await _until(lambda: topic.committed == {0: 1})


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


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
