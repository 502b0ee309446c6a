"""header_filter and tombstone_handler: what fails there is a failure of that record alone."""

from __future__ import annotations

from typing import Any

import pytest

from flowodm.avro.codec import Codec, SchemaNotLoadedError
from flowodm.events import Failed, Outcome, Stage
from flowodm.exceptions import RecordError, RegistryUnavailableError
from support.brokers.records import Raw
from support.loops import BOTH, PATIENCE, number
from support.shapes import handler_for
from support.waiting import wait_until

#: Both loops and both strategies; the crossed ones go the same ways.
PAIRS = pytest.mark.parametrize(
    ("kind", "strategy"), [("sync", "after_processing"), ("async", "before_processing")]
)
SHAPES = pytest.mark.parametrize("batch", [None, 5], ids=["single", "batches"])
RECORDS = 15
#: The first of a batch, one in the middle, and the last one.
ODD = (0, 7, 14)


def shape_of(kind: str, batch: int | None, seen: list[int]) -> tuple[Any, dict[str, Any]]:
    """A handler that collects numbers, and the options that it needs."""
    options: dict[str, Any] = {"ordering": "partition"}
    if batch is None:
        return handler_for(kind, lambda message: seen.append(message.n)), options
    options |= {"batch_size": batch, "batch_timeout": 3_600.0}
    return handler_for(kind, lambda messages: seen.extend(m.n for m in messages)), options


@PAIRS
@SHAPES
def test_a_filter_that_raises_hands_over_that_record_and_no_other(new_bench, kind, batch, strategy):
    """It is not tried again, and its bytes are not decoded: there may be no way to read them."""
    bench, seen, taken = new_bench(), [], []
    odd = (("version", b"?"),)
    records = (
        Raw(b"\xff" if n in ODD else number(n), None, 0, odd if n in ODD else ())
        for n in range(RECORDS)
    )
    bench.produce_raw(*records)

    def only_known(headers: dict[str, bytes | None]) -> bool:
        return int(headers.get("version") or b"1") == 1

    handler, options = shape_of(kind, batch, seen)
    options |= {"header_filter": only_known, "commit_strategy": strategy, "max_retries": 5}
    options["error_handler"] = lambda *arguments: taken.append(arguments)
    with bench.run(kind, handler, **options) as running:
        wait_until(lambda: bench.committed() == {0: RECORDS}, PATIENCE, "all is committed")
        wait_until(lambda: len(seen) + len(taken) == RECORDS, PATIENCE, "all is settled")
        running.stop()

    assert seen == [n for n in range(RECORDS) if n not in ODD]
    assert [(type(error), raw.offset(), message) for error, raw, message in taken] == [
        (ValueError, n, None) for n in ODD
    ]
    assert [event.stage for event in running.events.of(Failed)] == [Stage.FILTER] * len(ODD)
    assert running.events.outcomes() == {
        Outcome.PROCESSED: RECORDS - len(ODD),
        Outcome.ERROR_HANDLED: len(ODD),
    }


@SHAPES
@pytest.mark.parametrize("escape", [MemoryError, SystemExit])
@pytest.mark.parametrize("kind", BOTH)
def test_an_escape_in_a_filter_ends_the_loop_and_settles_nothing(new_bench, kind, batch, escape):
    bench, seen = new_bench(), []
    bench.produce_raw(
        *(Raw(number(n), None, 0, (("odd", b""),) if n == 7 else ()) for n in range(RECORDS))
    )

    def refuse(headers: dict[str, bytes | None]) -> bool:
        if "odd" in headers:
            raise escape
        return True

    handler, options = shape_of(kind, batch, seen)
    options |= {"header_filter": refuse, "on_failure": "skip"}
    running = bench.run(kind, handler, **options)
    with running, pytest.raises(escape):
        running.end(20)

    assert seen == list(range(7 if batch is None else 5))
    assert bench.committed() == {0: len(seen)}


@PAIRS
@SHAPES
def test_a_tombstone_handler_is_tried_again_and_then_hands_over(new_bench, kind, batch, strategy):
    bench, seen, attempts, taken = new_bench(), [], [], []
    bench.produce_raw(*(Raw(None if n in ODD else number(n), b"%d" % n, 0) for n in range(RECORDS)))

    def delete(context: Any) -> None:
        attempts.append((context.offset, context.attempt, context.key))
        if context.offset == 7 or context.attempt < 2:
            raise ValueError("not yet")

    handler, options = shape_of(kind, batch, seen)
    options |= {"tombstone_handler": handler_for(kind, delete), "commit_strategy": strategy}
    options |= {"max_retries": 2, "retry_delay": 0.0}
    options["error_handler"] = lambda *arguments: taken.append(arguments)
    with bench.run(kind, handler, **options) as running:
        wait_until(lambda: len(seen) + len(taken) == RECORDS - 2, PATIENCE, "all is settled")
        wait_until(lambda: bench.committed() == {0: RECORDS}, PATIENCE, "all is committed")
        running.stop()

    assert seen == [n for n in range(RECORDS) if n not in ODD]
    assert attempts == [
        (0, 1, b"0"),
        (0, 2, b"0"),
        (7, 1, b"7"),
        (7, 2, b"7"),
        (7, 3, b"7"),
        (14, 1, b"14"),
        (14, 2, b"14"),
    ]
    ((error, raw, message),) = taken
    assert (type(error), raw.offset(), raw.value(), message) == (ValueError, 7, None, None)
    assert running.events.outcomes() == {
        Outcome.PROCESSED: RECORDS - 1,
        Outcome.ERROR_HANDLED: 1,
    }


@SHAPES
@pytest.mark.parametrize("kind", BOTH)
def test_a_tombstone_handler_that_fails_for_good_stops_the_loop_at_its_record(
    new_bench, kind, batch
):
    bench, seen = new_bench(), []
    bench.produce_raw(*(Raw(None if n == 7 else number(n), b"%d" % n, 0) for n in range(RECORDS)))

    def delete(_context: Any) -> None:
        raise ValueError("no")

    handler, options = shape_of(kind, batch, seen)
    running = bench.run(kind, handler, tombstone_handler=handler_for(kind, delete), **options)
    with running, pytest.raises(RecordError) as caught:
        running.end(20)

    assert caught.value.offset == 7
    assert seen == list(range(7))
    assert bench.committed() == {0: 7}


@PAIRS
@SHAPES
def test_a_schema_that_has_to_be_looked_up_first_costs_no_record(
    new_bench, kind, batch, strategy, monkeypatch
):
    """In the middle of a batch, and from a registry that does not answer the first two times."""
    bench, seen, asked = new_bench(), [], []
    known: set[int] = set()
    decode = Codec.decode

    def decode_if_known(self: Any, data: bytes) -> Any:
        message = decode(self, data)
        if message.n in ODD and message.n not in known:
            raise SchemaNotLoadedError(message.n)
        return message

    def load(_self: Any, schema_id: int) -> None:
        asked.append(schema_id)
        if asked.count(schema_id) < 3 and schema_id == 7:
            raise RegistryUnavailableError("down")
        known.add(schema_id)

    monkeypatch.setattr(Codec, "decode", decode_if_known)
    monkeypatch.setattr(Codec, "load_schema", load)
    bench.produce(range(RECORDS))
    handler, options = shape_of(kind, batch, seen)
    with bench.run(kind, handler, commit_strategy=strategy, **options) as running:
        wait_until(lambda: len(seen) == RECORDS, PATIENCE, "all is handled")
        running.stop()

    assert seen == list(range(RECORDS))
    assert asked == [0, 7, 7, 7, 14]
    assert [event.stage for event in running.events.of(Failed)] == [Stage.REGISTRY] * 2
    assert bench.committed() == {0: RECORDS}
