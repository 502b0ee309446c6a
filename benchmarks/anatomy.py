"""Where each microsecond of a record goes: the steps of its way, each timed by itself.

The records are real ones, fetched from Kafka. Each step runs over all of them, again and again,
and the best pass counts, so the sum is what a quiet machine would need.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import by_hand
import fastavro
from codec import Order as StampedOrder
from contest import Row
from ground import Ground, Order
from prometheus_client import CollectorRegistry

from flowodm.avro.codec import Codec, codec_for
from flowodm.avro.writer import physical
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.engine import Engine
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.rules import Rules
from flowodm.consumer.handling.calls import caller
from flowodm.consumer.loop.coroutines import completed
from flowodm.events import Handled, Outcome
from flowodm.metrics import PrometheusObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message

RECORDS = 20_000
FETCH = 500
PASSES = 30


def run(ground: Ground) -> list[Row]:
    """Microseconds a record, of every step."""
    topic = ground.topic(RECORDS)
    fetched, messages = _fetch(ground.bootstrap, topic)
    rows = [Row("a record's way", "fetching, nothing else: consume(500)", fetched, "µs")]
    steps = {**_shared(messages), **_orders(messages)}
    rows += [Row("a record's way", name, _best(step), "µs") for name, step in steps.items()]
    return rows + [
        Row("decoding one timestamp and five other fields", name, _best(step), "µs")
        for name, step in _floors().items()
    ]


def _best(step: Callable[[], int]) -> float:
    """Microseconds a record of the fastest pass; a step returns how many records it did."""
    best = float("inf")
    for _ in range(PASSES):
        started = time.perf_counter()
        count = step()
        best = min(best, (time.perf_counter() - started) / count)
    return best * 1e6


def _fetch(bootstrap: str, topic: str) -> tuple[float, list[Message]]:
    consumer = by_hand.consumer_of(bootstrap, topic, uuid.uuid4().hex)
    messages = consumer.consume(FETCH, 30.0)
    first, started = len(messages), time.perf_counter()
    while len(messages) < RECORDS:
        messages += consumer.consume(FETCH, 1.0)
    seconds = time.perf_counter() - started
    consumer.close()
    return seconds / (RECORDS - first) * 1e6, messages


def _shared(messages: Sequence[Message]) -> dict[str, Callable[[], int]]:
    values: list[Any] = [message.value() for message in messages]
    decode, schema = codec_for(Order).decode, by_hand.SCHEMA
    raw = [fastavro.schemaless_reader(BytesIO(value), schema, None) for value in values]
    order = decode(values[0])
    sync = caller(lambda _order: None, None)  # type: ignore[arg-type]  # no context is made
    copy, clock = contextvars.copy_context, time.monotonic
    run: Any = None
    kept: deque[float] = deque(maxlen=FETCH)
    observer = PrometheusObserver(CollectorRegistry(), consumer="orders")
    event = Handled("orders", 0, {Outcome.PROCESSED: FETCH}, [1e-5] * FETCH)

    async def handle(_order: Order) -> None:
        pass

    tasks = caller(handle, None)  # type: ignore[arg-type]  # as above

    async def all_of_them() -> None:
        for message in messages:
            context = copy()
            await completed(tasks(context, order, message, run), context)

    def awaited() -> int:
        coroutine = all_of_them()
        with contextlib.suppress(StopIteration):
            coroutine.send(None)
        return len(messages)

    return {
        "sorting by partition: topic(), partition()": _each(
            lambda m: (m.topic(), m.partition()), messages
        ),
        "value()": _each(lambda m: m.value(), messages),
        "decoding, the codec": _each(decode, values),
        "  of which fastavro, called by hand": _each(
            lambda v: fastavro.schemaless_reader(BytesIO(v), schema, None), values
        ),
        "  of which model_validate, called by hand": _each(Order.model_validate, raw),
        "calling a plain handler in a context of its own": _each(
            lambda m: sync(copy(), order, m, run), messages
        ),
        "calling and awaiting a coroutine function": awaited,
        "noting the time": _each(lambda _: kept.append(clock()), messages),
        "PrometheusObserver, told once a batch": lambda: (observer(event), FETCH)[1],
    }


def _each(call: Callable[[Any], object], items: Sequence[Any]) -> Callable[[], int]:
    def step() -> int:
        for item in items:
            call(item)
        return len(items)

    return step


def _orders(messages: Sequence[Message]) -> dict[str, Callable[[], int]]:
    """The engine's bookkeeping: lanes, runs, watermark, durations."""

    def step(ordering: Ordering) -> int:
        engine = Engine(Rules(CommitStrategy.AFTER_PROCESSING, ordering, max_concurrent=100))
        engine.assigned([("orders", 0)])
        for start in range(0, len(messages), FETCH):
            engine.fetched(("orders", 0), messages[start : start + FETCH])  # type: ignore[arg-type]  # a Message is a Record
            while (run := engine.next_run(0.0)) is not None:
                count = len(run.records)
                run.ticks += [0.0] * count
                run.done = count
                engine.finished(run)
            engine.reports.take()
        return len(messages)

    return {
        'the engine, ordering="partition"': lambda: step(Ordering.PARTITION),
        'the engine, ordering="key"': lambda: step(Ordering.KEY),
        'the engine, ordering="unordered"': lambda: step(Ordering.UNORDERED),
    }


def _floors() -> dict[str, Callable[[], int]]:
    """fastavro and Pydantic alone, for a message with a timestamp, and the codec beside them."""
    codec: Codec[StampedOrder] = Codec(StampedOrder, subject="orders-value")
    order = StampedOrder(
        order_id="o-1",
        customer="c-2022",
        amount=12.5,
        quantity=3,
        paid=True,
        at=datetime(2025, 1, 2, 3, 4, 5, 678, UTC),
    )
    data = codec.encode(order)
    logical: Any = fastavro.parse_schema(codec.schema)
    plain: Any = fastavro.parse_schema(physical(logical))
    read = fastavro.schemaless_reader
    values = read(BytesIO(data), logical, None)
    times = [data] * 5_000
    return {
        "fastavro with the logical type": _each(lambda d: read(BytesIO(d), logical, None), times),
        "fastavro with the plain long": _each(lambda d: read(BytesIO(d), plain, None), times),
        "model_validate": _each(lambda _: StampedOrder.model_validate(values), times),
        "both, with the logical type": _each(
            lambda d: StampedOrder.model_validate(read(BytesIO(d), logical, None)), times
        ),
        "the codec, decoding": _each(codec.decode, times),
        "the codec, encoding": _each(lambda _: codec.encode(order), times),
    }
