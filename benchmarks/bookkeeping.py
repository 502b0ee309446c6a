"""What 1,000 partitions cost: in the engine alone, and on a real topic.

The engine is driven without Kafka, a clock or threads: records in, runs out, commits. So its cost
a record is seen without that of fetching and decoding.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import throughput
from contest import Row, rates, take_turns

from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.engine import Engine
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from ground import Ground

FEW, MANY = 4, 1_000
FETCH = 500
#: One engine with many partitions may cost so many microseconds a record more than with few.
MORE_WITHIN = 1.0
ORDERINGS = {
    "by partition": Ordering.PARTITION,
    "by key": Ordering.KEY,
    "unordered": Ordering.UNORDERED,
}


class Fetched:
    """A record as the engine sees it."""

    __slots__ = ("_key", "_offset")

    def __init__(self, offset: int, key: bytes) -> None:
        self._offset, self._key = offset, key

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return b"x" * 50

    def __len__(self) -> int:
        return 50


def run(ground: Ground, records: int, rounds: int) -> list[Row]:
    """The engine by itself, then the loops on a topic of 1,000 partitions."""
    rows = engine_alone(records, rounds)
    topic = ground.topic(records, partitions=MANY)
    seconds = take_turns(rounds, throughput.contenders(ground.bootstrap, topic, records))
    floors = {throughput.AFTER: 0.95, throughput.BEFORE: 0.9, throughput.ASYNC: 0.6}
    return rows + rates(f"throughput, {MANY:,} partitions", records, seconds, floors)


def engine_alone(records: int, rounds: int) -> list[Row]:
    """Microseconds a record of engine work, with few and with many partitions.

    A fetch brings 500 records of one partition, as a consumer that is behind gets them; in the
    last rows it brings one record of each, the worst that there is: every run is of one record.
    """
    contenders: dict[str, Callable[[], float]] = {
        f"{name}, {partitions} partitions": _driven(ordering, partitions, records)
        for name, ordering in ORDERINGS.items()
        for partitions in (FEW, MANY)
    }
    worst = f"by partition, {MANY} partitions, one record of each"
    contenders[worst] = _driven(Ordering.PARTITION, MANY, records, stretch=1)
    measured = take_turns(rounds, contenders)
    medians = {name: statistics.median(times) for name, times in measured.items()}
    rows = []
    for name in ORDERINGS:
        few, many = (medians[f"{name}, {count} partitions"] for count in (FEW, MANY))
        part = "the engine alone, a record"
        rows.append(Row(part, f"{name}, {FEW} partitions", few, "µs"))
        target, met = f"< {MORE_WITHIN:g} µs more", many - few < MORE_WITHIN
        rows.append(Row(part, f"{name}, {MANY} partitions", many, "µs", many / few, target, met))
    rows.append(Row("the engine alone, a record", worst, medians[worst], "µs"))
    return rows


def _driven(
    ordering: Ordering, partitions: int, records: int, stretch: int = FETCH
) -> Callable[[], float]:
    def drive() -> float:
        engine = Engine(Rules(CommitStrategy.AFTER_PROCESSING, ordering, max_concurrent=100))
        tps = [("orders", number) for number in range(partitions)]
        engine.assigned(tps)
        ends = dict.fromkeys(tps, 0)
        batches = [_batch(tps, ends, number, stretch) for number in range(records // FETCH)]
        started = time.perf_counter()
        for number, batch in enumerate(batches):
            _turn(engine, batch, commit=number % 100 == 0)
        return (time.perf_counter() - started) / records * 1e6

    return drive


def _batch(
    tps: list[Any], ends: dict[Any, int], number: int, stretch: int
) -> dict[Any, list[Fetched]]:
    """One fetch, of so many records of a partition in a row."""
    batch: dict[Any, list[Fetched]] = {}
    for record in range(FETCH):
        tp = tps[(number * FETCH + record) // stretch % len(tps)]
        batch.setdefault(tp, []).append(Fetched(ends[tp], b"%d" % (record % 100)))
        ends[tp] += 1
    return batch


def _turn(engine: Engine, batch: dict[Any, list[Fetched]], *, commit: bool) -> None:
    """What poller and handlers do with the engine for one fetch."""
    now = time.monotonic()
    engine.room()
    for tp, records in batch.items():
        engine.fetched(tp, records)
    engine.pressure(now)
    while (run := engine.next_run(now)) is not None:
        for _ in run.records:
            run.ticks.append(now)
            run.done += 1
        engine.finished(run)
    engine.reports.take()
    if commit:
        for tp, position in engine.to_commit().items():
            engine.committed(tp, position)
