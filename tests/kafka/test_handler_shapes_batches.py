"""batch_size: the handler gets lists, and every record keeps its own fate."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flowodm import BatchError, DeserializationError
from flowodm.events import Failed, Outcome
from flowodm.exceptions import RecordError
from support.brokers.records import Raw
from support.loops import BOTH, KINDS, PATIENCE, POISON, Gate, brisk, number
from support.shapes import handler_for
from support.waiting import wait_until

#: Both loops and both strategies; the crossed ones go the same ways.
PAIRS = pytest.mark.parametrize(
    ("kind", "strategy"), [("sync", "after_processing"), ("async", "before_processing")]
)
SIZE = 5
RECORDS = 3 * SIZE
#: A time-out that no test waits for: a batch is handed over because it is full.
FULL = {"batch_size": SIZE, "batch_timeout": 3_600.0, "ordering": "partition"}
SKIP = (("skip", b"1"),)


def odd_record(what: str, n: int) -> Raw:
    match what:
        case "poison":
            return Raw(POISON, None, 0)
        case "filtered":
            return Raw(number(n), None, 0, SKIP)
        case _:
            return Raw(None, b"%d" % n, 0)


OUTCOMES = {
    "poison": Outcome.ERROR_HANDLED,
    "filtered": Outcome.FILTERED,
    "tombstone": Outcome.TOMBSTONE,
    "handled tombstone": Outcome.PROCESSED,
}


#: At the beginning of a batch, in its middle, at its end, at both ends, and a whole one.
ODD = {0, 7, 14, 15, 19, *range(20, 25)}
MANY = 6 * SIZE


@pytest.mark.parametrize("what", list(OUTCOMES))
@PAIRS
def test_a_record_that_is_not_for_the_batch_handler_costs_its_neighbours_nothing(
    new_bench, kind, what, strategy
):
    """Wherever in a batch it is, also where nothing else is: once each, in order, and committed."""
    bench, batches, taken, dead = new_bench(), [], [], []
    bench.produce_raw(
        *(odd_record(what, n) if n in ODD else Raw(number(n), None, 0) for n in range(MANY))
    )
    options: dict[str, Any] = {
        **FULL,
        "commit_strategy": strategy,
        "error_handler": lambda *arguments: taken.append(arguments),
        "header_filter": lambda headers: "skip" not in headers,
    }
    if what == "handled tombstone":
        options["tombstone_handler"] = lambda context: dead.append(context.offset)
    handle = handler_for(kind, lambda messages: batches.append([m.n for m in messages]))
    with bench.run(kind, handle, **options) as running:
        wait_until(
            lambda: sum(running.events.outcomes().values()) == MANY, PATIENCE, "all is settled"
        )
        running.stop()

    assert [n for batch in batches for n in batch] == [n for n in range(MANY) if n not in ODD]
    assert all(0 < len(batch) <= SIZE for batch in batches)
    expected = {Outcome.PROCESSED: MANY - len(ODD)}
    expected[OUTCOMES[what]] = expected.get(OUTCOMES[what], 0) + len(ODD)
    assert running.events.outcomes() == {k: v for k, v in expected.items() if v}
    assert [raw.offset() for _, raw, _ in taken] == (sorted(ODD) if what == "poison" else [])
    assert all(isinstance(error, DeserializationError) for error, _, _ in taken)
    assert dead == (sorted(ODD) if what == "handled tombstone" else [])
    assert bench.committed() == {0: MANY}


@pytest.mark.parametrize("index", [0, 2, SIZE - 1])
@PAIRS
def test_batch_error_settles_what_is_before_its_index_and_brings_the_rest_again(
    new_bench, kind, index, strategy
):
    bench, batches, taken = new_bench(), [], []
    bench.produce(range(RECORDS))
    bad = SIZE + index

    def handle(messages: list[Any]) -> None:
        numbers = [message.n for message in messages]
        batches.append(numbers)
        if bad in numbers:
            raise BatchError(numbers.index(bad)) from ValueError("its own reason")

    options = {**FULL, "commit_strategy": strategy}
    options["error_handler"] = lambda *arguments: taken.append(arguments)
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(
            lambda: sum(running.events.outcomes().values()) == RECORDS, PATIENCE, "all is settled"
        )
        running.stop()

    ((error, raw, message),) = taken
    assert (type(error), str(error)) == (ValueError, "its own reason")
    assert (raw.offset(), message.n) == (bad, bad)
    seen = [n for batch in batches for n in batch]
    rest = list(range(bad + 1, 2 * SIZE))
    assert [n for n in range(RECORDS) if seen.count(n) > 1] == rest, "and nothing else"
    assert {*seen} == {*range(RECORDS)}
    assert running.events.outcomes() == {
        Outcome.PROCESSED: RECORDS - 1,
        Outcome.ERROR_HANDLED: 1,
    }
    assert bench.committed() == {0: RECORDS}


@pytest.mark.parametrize("index", [-1, SIZE, True, False], ids=repr)
@pytest.mark.parametrize("kind", BOTH)
def test_a_batch_error_whose_index_is_no_place_in_the_list_settles_nothing(new_bench, kind, index):
    """Such a handler does not know what it has done; a record must not count as done by a slip."""
    bench, batches = new_bench(), []
    bench.produce(range(RECORDS))

    def handle(messages: list[Any]) -> None:
        batches.append([message.n for message in messages])
        if messages[0].n == SIZE:
            raise BatchError(index)

    running = bench.run(kind, handler_for(kind, handle), **FULL)
    with running, pytest.raises(RecordError) as caught:
        running.end(20)

    assert caught.value.offset == SIZE
    assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert running.events.outcomes() == {Outcome.PROCESSED: SIZE}
    assert bench.committed() == {0: SIZE}


@pytest.mark.parametrize("kind", BOTH)
def test_the_index_counts_messages_and_not_the_records_that_were_left_out(new_bench, kind):
    bench, taken = new_bench(), []
    odd = {0: "tombstone", 1: "filtered", 3: "tombstone"}
    records = (odd_record(odd[n], n) if n in odd else Raw(number(n), None, 0) for n in range(10))
    bench.produce_raw(*records)

    def handle(messages: list[Any]) -> None:
        numbers = [message.n for message in messages]
        if 4 in numbers:
            raise BatchError(numbers.index(4))

    options: dict[str, Any] = {
        "batch_size": 10,
        "batch_timeout": 3_600.0,
        "ordering": "partition",
        "error_handler": lambda _error, raw, _message: taken.append(raw.offset()),
        "header_filter": lambda headers: "skip" not in headers,
    }
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(
            lambda: sum(running.events.outcomes().values()) == 10, PATIENCE, "all is settled"
        )
        running.stop()

    assert taken == [4]
    assert running.events.outcomes() == {
        Outcome.PROCESSED: 6,
        Outcome.TOMBSTONE: 2,
        Outcome.FILTERED: 1,
        Outcome.ERROR_HANDLED: 1,
    }
    assert bench.committed() == {0: 10}


@PAIRS
def test_a_batch_that_fails_without_an_index_is_tried_again_as_it_was(new_bench, kind, strategy):
    """And after the last attempt each of its records is handed over by itself."""
    bench, batches, taken = new_bench(), [], []
    bench.produce(range(RECORDS))

    def handle(messages: list[Any]) -> None:
        batches.append([message.n for message in messages])
        if messages[0].n == SIZE:
            raise ValueError("all of it")

    options = {**FULL, "max_retries": 2, "retry_delay": 0.01, "commit_strategy": strategy}
    options["error_handler"] = lambda _error, raw, message: taken.append((raw.offset(), message.n))
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(
            lambda: sum(running.events.outcomes().values()) == RECORDS, PATIENCE, "all is settled"
        )
        running.stop()

    middle = list(range(SIZE, 2 * SIZE))
    assert batches == [[0, 1, 2, 3, 4], middle, middle, middle, [10, 11, 12, 13, 14]]
    assert taken == [(n, n) for n in middle]
    assert running.events.outcomes() == {
        Outcome.PROCESSED: 2 * SIZE,
        Outcome.ERROR_HANDLED: SIZE,
    }
    assert bench.committed() == {0: RECORDS}


@pytest.mark.parametrize("kind", BOTH)
def test_a_batch_that_recovers_is_handled_once_and_the_attempt_counts_up(new_bench, kind):
    bench, attempts = new_bench(), []
    bench.produce(range(RECORDS))

    def handle(messages: list[Any], contexts: list[Any]) -> None:
        attempts.append(
            [(m.n, c.offset, c.attempt) for m, c in zip(messages, contexts, strict=True)]
        )
        if messages[0].n == SIZE and contexts[0].attempt < 3:
            raise ValueError("not yet")

    options = {**FULL, "max_retries": 5, "retry_delay": 0.01}
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(lambda: running.status().processed == RECORDS, PATIENCE, "all is handled")
        running.stop()

    middle = [batch for batch in attempts if batch[0][0] == SIZE]
    assert [batch[0] for batch in middle] == [(5, 5, 1), (5, 5, 2), (5, 5, 3)]
    assert all([n for n, _, _ in batch] == [5, 6, 7, 8, 9] for batch in middle)
    assert len(running.events.of(Failed)) == 2
    assert bench.committed() == {0: RECORDS}


@pytest.mark.parametrize("ordering", ["partition", "unordered"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_holds_records_of_one_partition_in_offset_order(new_bench, kind, ordering):
    bench, batches = new_bench(partitions=4), []
    bench.produce(range(2_000), partition=lambda n: n * 7 % 4)
    options = {"batch_size": 50, "batch_timeout": 0.05, "ordering": ordering}
    handle = handler_for(kind, lambda messages: batches.append([m.n for m in messages]))
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: running.status().processed == 2_000, PATIENCE, "all is handled")
        running.stop()

    assert sorted(n for batch in batches for n in batch) == list(range(2_000))
    for batch in batches:
        assert len({n * 7 % 4 for n in batch}) == 1
        assert batch == sorted(batch)
        assert len(batch) <= 50
    assert max(map(len, batches)) == 50, "a backlog makes full batches"
    assert bench.committed() == bench.ends()


@pytest.mark.parametrize(
    ("ordering", "strategy"),
    [
        ("partition", "after_processing"),
        ("partition", "before_processing"),
        ("unordered", "after_processing"),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
def test_a_lone_record_waits_for_the_batch_time_out_and_no_longer(
    new_bench, kind, ordering, strategy
):
    bench, handled = new_bench(), []
    handle = handler_for(kind, lambda messages: handled.append((time.monotonic(), len(messages))))
    options = {"batch_size": 100, "batch_timeout": 0.4, "ordering": ordering}
    options |= {"commit_strategy": strategy, "poll_timeout": 5.0}
    waits = []
    with bench.run(kind, handle, **options) as running:
        running.joined(1)
        for n in range(3):
            bench.produce([n])
            acknowledged = time.monotonic()
            wait_until(lambda n=n: len(handled) == n + 1, PATIENCE, "it is handed over")
            waits.append(handled[-1][0] - acknowledged)
        running.stop()

    assert [size for _, size in handled] == [1, 1, 1]
    # It came a moment before its acknowledgement, and slow machines are slow.
    assert 0.1 < min(waits) < 0.6, waits
    assert bench.committed() == {0: 3}


@PAIRS
def test_a_trickle_does_not_put_off_a_batch_beyond_its_time_out(new_bench, kind, strategy):
    """The wait begins with the first record and not anew with each one that comes."""
    bench, batches = new_bench(), []
    handle = handler_for(
        kind, lambda messages: batches.append((time.monotonic(), [m.n for m in messages]))
    )
    options = {"batch_size": 1_000, "batch_timeout": 0.5, "commit_strategy": strategy}
    with bench.run(kind, handle, ordering="partition", **options) as running:
        running.joined(1)
        began = time.monotonic()
        n = 0
        while not batches and time.monotonic() - began < 10:
            bench.produce([n])
            n += 1
        assert batches[0][0] - began < 3.0
        wait_until(lambda: running.status().processed == n, PATIENCE, "the rest too")
        running.stop()
    assert bench.committed() == {0: n}


@pytest.mark.parametrize("ordering", ["partition", "unordered"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_leaves_a_batch_that_waits_to_the_next_owner_at_least_once(
    new_bench, kind, ordering
):
    bench, seen, again = new_bench(), [], []
    bench.produce(range(8))
    options = {**FULL, "ordering": ordering}
    handle = handler_for(kind, lambda messages: seen.extend(m.n for m in messages))
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: running.status().processed == SIZE, PATIENCE, "the full one is done")
        wait_until(lambda: running.status().buffered == 3, PATIENCE, "the other one waits")
        running.loop.stop()
        running.end(5)
    assert seen == [0, 1, 2, 3, 4]
    assert bench.committed() == {0: SIZE}

    options["batch_timeout"] = 0.05
    resume = handler_for(kind, lambda messages: again.extend(m.n for m in messages))
    with bench.run(kind, resume, **options) as second:
        wait_until(lambda: bench.committed() == {0: 8}, PATIENCE, "the next owner has them")
        second.stop()
    assert again == [5, 6, 7]


@pytest.mark.parametrize("ordering", ["partition", "unordered"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_hands_over_a_batch_that_waits_where_it_is_committed_already(
    new_bench, kind, ordering
):
    """At most once: nobody else would ever handle what the loop has committed."""
    bench, seen, again = new_bench(), [], []
    bench.produce(range(8))
    options = {**FULL, "ordering": ordering, "commit_strategy": "before_processing"}
    handle = handler_for(kind, lambda messages: seen.extend(m.n for m in messages))
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: running.status().processed == SIZE, PATIENCE, "the full one is done")
        running.loop.stop()
        running.end(5)
    assert Outcome.LOST not in running.events.outcomes()
    assert seen == list(range(len(seen)))
    assert bench.committed() == {0: len(seen)}

    options["batch_timeout"] = 0.05
    resume = handler_for(kind, lambda messages: again.extend(m.n for m in messages))
    with bench.run(kind, resume, **options) as second:
        wait_until(lambda: len(seen + again) == 8, PATIENCE, "the next owner has the rest")
        second.stop()
    assert seen + again == list(range(8))


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_while_a_batch_waits_for_its_retry_loses_and_repeats_nothing(new_bench, kind):
    """Two of its records are done, by BatchError: these are committed and do not come again."""
    bench, batches, again = new_bench(), [], []
    bench.produce(range(RECORDS))

    def handle(messages: list[Any]) -> None:
        batches.append([message.n for message in messages])
        if 7 in batches[-1]:
            raise BatchError(batches[-1].index(7))

    options = {**FULL, "max_retries": 3, "retry_delay": 3_600.0}
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(lambda: running.events.of(Failed), PATIENCE, "it failed")
        running.loop.stop()
        running.end(5)
    assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert bench.committed() == {0: 7}

    resume = handler_for(kind, lambda messages: again.extend(m.n for m in messages))
    with bench.run(kind, resume, **{**options, "batch_timeout": 0.05}) as second:
        wait_until(lambda: bench.committed() == {0: RECORDS}, PATIENCE, "the next owner has them")
        second.stop()
    assert again == list(range(7, RECORDS))


@pytest.mark.parametrize("waits_for", ["more records", "its retry"])
@PAIRS
def test_a_partition_that_moves_while_its_batch_waits_is_handled_by_its_new_owner(
    new_bench, kind, waits_for, strategy
):
    """Or, where it is committed already, by the old one before it gives the partition up."""
    bench, first_seen, second_seen = new_bench(partitions=2), [], []
    bench.produce(range(2 * 3), partition=lambda n: n % 2)

    def fail(messages: list[Any], contexts: list[Any]) -> None:
        if waits_for == "its retry" and contexts[0].attempt == 1:
            raise ValueError("not yet")
        first_seen.extend(message.n for message in messages)

    size = SIZE if waits_for == "more records" else 3
    options: dict[str, Any] = {
        "settings": brisk(),
        "batch_size": size,
        "batch_timeout": 3_600.0,
        "ordering": "partition",
        "max_retries": 1,
        "retry_delay": 3_600.0,
        "commit_strategy": strategy,
        "max_concurrent": 2,
    }
    with bench.run(kind, handler_for(kind, fail), **options) as first:
        first.joined(2)
        if waits_for == "its retry":
            wait_until(lambda: len(first.events.of(Failed)) == 2, PATIENCE, "both wait")
        else:
            wait_until(lambda: first.status().buffered == 6, PATIENCE, "both wait")
        collect = handler_for(kind, lambda messages: second_seen.extend(m.n for m in messages))
        with bench.run(kind, collect, **{**options, "batch_timeout": 0.05}) as second:
            second.joined(1)
            ((_, moved),) = second.status().assigned
            mine = [n for n in range(6) if n % 2 == moved]
            wait_until(
                lambda: set(mine) <= {*first_seen, *second_seen}, PATIENCE, "one has handled them"
            )
            wait_until(lambda: bench.committed().get(moved) == 3, PATIENCE, "and committed them")
            second.stop()
        first.loop.stop()
        first.end(10)

    seen = first_seen + second_seen
    assert [n for n in seen if seen.count(n) > 1] == []
    assert Outcome.LOST not in first.events.outcomes()
    committed = bench.committed()
    for partition in range(2):
        handled = [n for n in seen if n % 2 == partition]
        assert committed.get(partition, 0) == len(handled)


@pytest.mark.parametrize("kind", BOTH)
def test_a_batch_is_committed_when_its_handler_starts_at_most_once(new_bench, kind):
    bench, early, sizes = new_bench(), [], []
    bench.produce(range(1_000))

    def handle(messages: list[Any]) -> None:
        sizes.append(len(messages))
        if len(sizes) % 5 == 1 and bench.committed().get(0, 0) <= messages[-1].n:
            early.append(messages[-1].n)

    options = {**FULL, "batch_size": 50, "commit_strategy": "before_processing"}
    with bench.run(kind, handler_for(kind, handle), **options) as running:
        wait_until(lambda: running.status().processed == 1_000, PATIENCE, "all is handled")
        running.stop()

    assert early == []
    assert sizes == [50] * 20, "windows do not cut the batches short"
    assert running.events.outcomes() == {Outcome.PROCESSED: 1_000}
    assert bench.committed() == {0: 1_000}


@PAIRS
def test_a_batch_handler_that_hangs_past_the_drain_is_not_committed(new_bench, kind, strategy):
    bench = new_bench()
    bench.produce(range(RECORDS))
    with Gate() as gate:

        def handle(messages: list[Any]) -> None:
            if messages[0].n == SIZE:
                gate.wait()

        options = {**FULL, "drain_timeout": 0.3, "commit_strategy": strategy}
        with bench.run(kind, handle, **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "it hangs")
            running.loop.stop()
            wait_until(lambda: not running.status().assigned, 15, "it has given up its partition")
            committed = bench.committed()[0]
            gate.open()
            running.end(20)

    if strategy == "after_processing":
        assert committed == SIZE
    else:
        # A thread's handler comes to its end after all; a task's is cancelled.
        settled = running.events.outcomes()
        assert sum(settled.values()) == committed
        assert settled[Outcome.LOST] > 0, "at most once says what it cost"
    assert bench.committed() == {0: committed}
