"""before_processing and a failure that ends the loop: what was committed ahead is still handled."""

from __future__ import annotations

import time

import pytest

from flowodm.events import Outcome
from flowodm.exceptions import RecordError
from support.loops import KINDS, PATIENCE

RECORDS = 2_000
ALL_AHEAD = {"commit_strategy": "before_processing", "commit_ahead": 5.0}


class BrokenError(Exception):
    """What the handlers here raise."""


@pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_record_that_failed_is_lost(new_bench, kind, ordering):
    bench, seen = new_bench(partitions=2), []
    bench.produce(range(RECORDS), partition=lambda n: n % 2)

    def handle(message) -> None:
        seen.append(message.n)
        if message.n == 50:
            raise BrokenError
        time.sleep(0.0005)  # some hundred records fit into what is committed ahead

    running = bench.run(kind, handle, on_failure="stop", ordering=ordering, **ALL_AHEAD)
    with pytest.raises(RecordError, match="BrokenError"), running:
        running.end(PATIENCE)

    committed = bench.committed()
    expected = [n for n in range(RECORDS) if n // 2 < committed.get(n % 2, 0)]
    assert sorted(seen) == expected
    assert running.events.outcomes() == {Outcome.PROCESSED: len(seen) - 1, Outcome.LOST: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_fails_on_every_record_gets_each_of_them_once(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce(range(RECORDS))

    def handle(message) -> None:
        seen.append(message.n)
        if message.n >= 50:
            raise BrokenError

    running = bench.run(kind, handle, on_failure="stop", ordering="partition", **ALL_AHEAD)
    with pytest.raises(RecordError, match="BrokenError") as raised, running:
        running.end(PATIENCE)

    assert raised.value.offset == 50
    assert seen == list(range(bench.committed()[0]))
    assert running.events.outcomes() == {Outcome.PROCESSED: 50, Outcome.LOST: len(seen) - 50}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_failed_is_not_handled_again_and_those_behind_it_are(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce(range(RECORDS))

    def handle(messages) -> None:
        numbers = [message.n for message in messages]
        seen.extend(numbers)
        if 50 in numbers:
            raise BrokenError

    options = {"batch_size": 20, "ordering": "partition", **ALL_AHEAD}
    running = bench.run(kind, handle, on_failure="stop", **options)
    with pytest.raises(RecordError, match="BrokenError"), running:
        running.end(PATIENCE)

    assert seen == list(range(bench.committed()[0]))
    assert 1 <= running.events.outcomes()[Outcome.LOST] <= 20
