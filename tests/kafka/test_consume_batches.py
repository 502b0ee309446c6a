"""consume_one and consume_batch and their twins: what they return is what is committed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from flowodm.connection import connect, get_kafka_connection
from flowodm.exceptions import ConsumerError, DeserializationError
from support.brokers.records import Raw, read_all
from support.loops import PATIENCE, POISON, brisk
from support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.loops import Bench


class Both:
    """The plain calls, and the asynchronous ones called as if they were plain."""

    def __init__(self, kind: str, bench: Bench) -> None:
        self.kind = kind
        self.bench = bench

    def batch(self, size: int, timeout: float = PATIENCE, **options: Any) -> list[int]:
        model, settings = self.bench.model, brisk()
        if self.kind == "async":
            call = model.aconsume_batch(size, timeout, settings=settings, **options)
            return [message.n for message in asyncio.run(call)]
        messages = model.consume_batch(size, timeout, settings=settings, **options)
        return [message.n for message in messages]

    def one(self, timeout: float = PATIENCE) -> int | None:
        model, settings = self.bench.model, brisk()
        if self.kind == "async":
            message = asyncio.run(model.aconsume_one(timeout, settings=settings))
        else:
            message = model.consume_one(timeout, settings=settings)
        return None if message is None else message.n


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest, new_bench: Callable[[], Bench]) -> Both:
    return Both(request.param, new_bench())


def test_a_full_batch_is_returned_at_once_and_committed(both):
    both.bench.produce(range(10))

    assert both.batch(4) == [0, 1, 2, 3]
    assert both.bench.committed() == {0: 4}
    assert both.batch(3) == [4, 5, 6]
    assert both.bench.committed() == {0: 7}


def test_a_batch_that_does_not_fill_is_returned_when_its_time_is_over(both):
    both.bench.produce(range(3))
    assert both.one() == 0

    assert both.batch(100, timeout=1.0) == [1, 2]
    assert both.bench.committed() == {0: 3}
    assert both.batch(100, timeout=0.2) == []


def test_what_was_not_returned_comes_to_the_next_consumer(both):
    both.bench.produce(range(5))
    assert both.batch(2) == [0, 1]

    get_kafka_connection().close_connection()

    assert both.batch(3) == [2, 3, 4]


def test_a_poison_record_ends_the_batch_in_front_of_it_then_raises_then_is_behind(both):
    both.bench.produce(range(2))
    both.bench.produce_raw(Raw(POISON, None, 0))
    both.bench.produce([3])

    assert both.batch(4) == [0, 1]
    assert both.bench.committed() == {0: 2}
    with pytest.raises(DeserializationError) as caught:
        both.batch(4)
    assert (caught.value.topic, caught.value.offset) == (both.bench.topic, 2)
    assert both.bench.committed() == {0: 2}
    assert both.one() == 3
    assert both.bench.committed() == {0: 4}


def test_poison_records_are_passed_over_where_that_is_asked_for(both, caplog):
    both.bench.produce_raw(Raw(POISON, None, 0))
    both.bench.produce([1])

    assert both.batch(1, on_poison="skip") == [1]
    (said,) = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert f"topic {both.bench.topic}, partition 0, offset 0" in said


def test_a_batch_of_several_partitions_is_committed_in_each(new_bench):
    bench = new_bench(3)
    bench.produce(range(9), partition=lambda n: n % 3)

    got = bench.model.consume_batch(9, PATIENCE, settings=brisk())

    assert sorted(message.n for message in got) == list(range(9))
    assert bench.committed() == {0: 3, 1: 3, 2: 3}


def test_calls_from_many_threads_share_the_messages_and_commit_forwards(new_bench):
    bench = new_bench()
    bench.produce(range(60))

    async def all_of_them() -> list[Any]:
        one = bench.model.consume_one
        calls = (asyncio.to_thread(one, PATIENCE, None, brisk()) for _ in range(60))
        return await asyncio.gather(*calls)

    got = asyncio.run(all_of_them())

    assert sorted(message.n for message in got) == list(range(60))
    assert bench.committed() == {0: 60}


async def test_a_cancelled_call_loses_no_message(new_bench):
    bench = new_bench()
    bench.produce([0])
    first = await bench.model.aconsume_one(PATIENCE, settings=brisk())
    assert first.n == 0
    got: list[int] = []
    bench.produce(range(1, 6))
    while len(got) < 5:
        call = asyncio.ensure_future(bench.model.aconsume_one(PATIENCE, settings=brisk()))
        # Each time a little later: in the poll, in the commit, and behind it.
        await asyncio.sleep(len(got) * 0.002)
        call.cancel()
        await asyncio.wait([call])
        if call.cancelled():
            message = await bench.model.aconsume_one(PATIENCE, settings=brisk())
        else:
            message = call.result()
        got.append(message.n)

    assert got == list(range(1, 6))
    assert await asyncio.to_thread(bench.committed) == {0: 6}


async def test_the_event_loop_goes_on_while_a_call_waits(new_bench):
    bench = new_bench()
    call = asyncio.ensure_future(bench.model.aconsume_one(PATIENCE, settings=brisk()))
    longest, last = 0.0, time.monotonic()

    def is_waiting() -> bool:
        nonlocal longest, last
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        return now > started + 2.0

    started = last
    await wait_until_async(is_waiting, PATIENCE, "two seconds have passed")
    assert not call.done()
    assert longest < 1.0  # a poll that blocked would take all of its 30 s
    bench.produce([7])
    assert (await call).n == 7


def test_a_connection_closed_in_the_middle_is_an_error_that_says_so(new_bench):
    bench = new_bench()
    bench.produce([0])
    assert bench.model.consume_one(PATIENCE, settings=brisk()).n == 0
    consumer = bench.model.get_consumer(None, brisk())

    class Closed(bench.model):
        @classmethod
        def get_consumer(cls, *_: Any) -> Any:
            return consumer

    consumer.close()
    with pytest.raises(ConsumerError, match=r"Closed: .*closed"):
        Closed.consume_one()


def test_a_broker_that_is_not_there_costs_the_time_out_and_no_more(new_bench):
    model = new_bench().model
    connect("127.0.0.1:1", consumer_config={"log_level": 0})

    started = time.monotonic()
    assert model.consume_one(timeout=0.5) is None
    assert model.consume_batch(10, timeout=0.5) == []
    assert time.monotonic() - started < 10


def test_a_partition_that_was_taken_away_is_not_committed_and_its_messages_are_not_returned(
    new_bench,
):
    bench = new_bench()
    bench.produce(range(3))
    consumer = bench.model.get_consumer(None, brisk())
    wait_until(lambda: consumer.poll(0.1) is not None, PATIENCE, "the first record came")
    consumer.unsubscribe()  # as if the group had taken it away while the batch was filled
    wait_until(
        lambda: consumer.poll(0.1) or not consumer.assignment(),
        PATIENCE,
        "nothing is assigned any more",
    )

    class Kept(bench.model):
        @classmethod
        def get_consumer(cls, *_: Any) -> Any:
            return _Lagging(consumer, bench)

    assert Kept.consume_batch(2, timeout=0.5) == []
    assert bench.committed() == {}


class _Lagging:
    """Gives a record that was fetched before the assignment went."""

    def __init__(self, consumer: Any, bench: Bench) -> None:
        self._consumer = consumer
        self._records = read_all(bench.kafka, bench.topic)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, timeout: float) -> Any:
        return self._records.pop(0) if self._records else self._consumer.poll(timeout)
