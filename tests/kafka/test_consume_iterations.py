"""consume_iter and aconsume_iter: bounded, exact about what they commit, and gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from flowodm.connection import get_kafka_connection
from flowodm.exceptions import DeserializationError
from support.brokers.records import Raw
from support.loops import PATIENCE, POISON, brisk
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.loops import Bench

#: Long enough for a fetch, short enough to wait for.
IDLE = 1.5


class Both:
    """The plain iterator, and the asynchronous one driven as if it were plain."""

    def __init__(self, kind: str, bench: Bench) -> None:
        self.kind = kind
        self.bench = bench

    def consumes(self, body: Callable[[int], Any], *, block: bool = True, **options: Any) -> None:
        """Iterate, in a ``with`` block or without one, and call ``body`` with each number."""
        options = {"settings": brisk(), **options}
        if self.kind == "async":
            asyncio.run(self._consumes(body, block, options))
            return
        messages = self.bench.model.consume_iter(**options)
        with messages if block else contextlib.nullcontext():
            for message in messages if block else self.bench.model.consume_iter(**options):
                if body(message.n) is StopIteration:
                    break

    async def _consumes(self, body: Any, block: bool, options: dict[str, Any]) -> None:
        messages = self.bench.model.aconsume_iter(**options)
        async with messages if block else contextlib.nullcontext():
            async for message in messages if block else self.bench.model.aconsume_iter(**options):
                if body(message.n) is StopIteration:
                    break

    def gets(self, **options: Any) -> list[int]:
        got: list[int] = []
        self.consumes(got.append, **options)
        return got


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest, new_bench: Callable[[], Bench]) -> Both:
    return Both(request.param, new_bench())


def stop_at(last: int) -> Callable[[int], Any]:
    return lambda n: StopIteration if n == last else None


def fail_at(last: int) -> Callable[[int], Any]:
    def body(n: int) -> None:
        if n == last:
            raise KeyError(n)

    return body


def test_it_ends_after_max_messages_and_has_committed_just_those(both):
    both.bench.produce(range(10))

    assert both.gets(max_messages=3) == [0, 1, 2]

    assert both.bench.committed() == {0: 3}
    assert both.gets(max_messages=2) == [3, 4]


def test_it_ends_when_nothing_came_for_its_time_out(both):
    both.bench.produce(range(4))

    assert both.gets(timeout=IDLE) == [0, 1, 2, 3]

    assert both.bench.committed() == {0: 4}


@pytest.mark.parametrize("block", [True, False])
def test_what_failed_in_the_body_comes_again_and_what_was_before_it_does_not(both, block):
    both.bench.produce(range(5))

    with pytest.raises(KeyError):
        both.consumes(fail_at(2), block=block)

    # A bare "async for" has to leave the rest to a thread.
    wait_until(lambda: both.bench.committed() == {0: 2}, PATIENCE, "what was handled is committed")
    assert both.gets(max_messages=3) == [2, 3, 4]


def test_the_message_at_which_a_with_block_was_left_is_committed(both):
    both.bench.produce(range(5))

    both.consumes(stop_at(2))

    assert both.bench.committed() == {0: 3}


def test_without_a_with_block_the_message_of_the_break_comes_again(both):
    both.bench.produce(range(5))

    both.consumes(stop_at(2), block=False)

    wait_until(lambda: both.bench.committed() == {0: 2}, PATIENCE, "what was handled is committed")


@pytest.mark.parametrize(
    "leave",
    [lambda n: None, fail_at(0)],
    ids=["end", "error"],
)
def test_its_consumer_leaves_the_group_however_it_ends(both, leave):
    both.bench.produce(range(2))
    with contextlib.suppress(KeyError):
        both.consumes(leave, max_messages=2)

    connection = get_kafka_connection()
    assert all(consumer.closed for consumer in connection._clients._lent)
    # A member that had only died would keep its partitions until its session ends.
    with both.bench.plain_member() as other:
        wait_until(lambda: other.owns() == [0], 5.0, "the next member has the partition")


def test_a_poison_record_ends_it_and_comes_first_in_the_next_one(both):
    both.bench.produce([0])
    both.bench.produce_raw(Raw(POISON, None, 0))
    both.bench.produce([2])
    for got in ([0], []):
        seen: list[int] = []
        with pytest.raises(DeserializationError) as caught:
            both.consumes(seen.append)
        assert (seen, caught.value.offset) == (got, 1)
    assert both.bench.committed() == {0: 1}

    assert both.gets(on_poison="skip", max_messages=1) == [2]
    assert both.bench.committed() == {0: 3}


def test_what_was_handled_is_committed_while_the_next_message_is_waited_for(new_bench):
    bench = new_bench()
    bench.produce(range(2))
    handled = threading.Event()

    def consume() -> None:
        with bench.model.consume_iter(settings=brisk(), max_messages=3) as messages:
            for message in messages:
                if message.n == 1:
                    handled.set()

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    assert handled.wait(PATIENCE)
    wait_until(lambda: bench.committed() == {0: 2}, PATIENCE, "both are committed")

    bench.produce([2])
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert bench.committed() == {0: 3}


def test_two_at_a_time_in_one_process_are_two_members_of_the_group(new_bench):
    bench = new_bench(2)
    bench.produce(range(400), partition=lambda n: n % 2)
    got: list[list[int]] = [[], []]
    errors: list[BaseException] = []

    def consume(mine: list[int]) -> None:
        try:
            messages = bench.model.consume_iter(timeout=IDLE, settings=brisk())
            mine.extend(message.n for message in messages)
        except BaseException as error:  # noqa: BLE001 - asserted below
            errors.append(error)

    threads = [threading.Thread(target=consume, args=(mine,), daemon=True) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)

    assert not errors
    assert sorted({*got[0], *got[1]}) == list(range(400))
    assert bench.committed() == {0: 200, 1: 200}
