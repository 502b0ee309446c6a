"""What tracing costs a record that is sent, and one that is handled: the microseconds it adds.

The records carry a context. "the API alone" makes no spans and passes the context on; the SDK
samples every trace and keeps the spans in memory, so no exporter is measured.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from contest import Row, take_turns
from ground import Ground, Order, Tally, read
from library import async_loop, run_to_the_end, sync_loop
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from flowodm import connect
from flowodm.connection import get_kafka_connection
from flowodm.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable

OFF = "off"
API = "the API alone"
SDK = "the SDK"
#: Spans stay in memory: some 3 kB each.
RECORDS = 20_000


def run(ground: Ground, rounds: int) -> list[Row]:
    """Microseconds a record: all of them, and what tracing has added."""
    topic, other = ground.topic(0), ground.topic(0)
    _connected(ground, SDK, lambda: _send(topic))()
    ways: dict[str, Callable[[], float]] = {
        "produce_many": lambda: _send(other),
        "ConsumerLoop": lambda: _handle(topic, is_async=False),
        "AsyncConsumerLoop": lambda: _handle(topic, is_async=True),
    }
    contenders = {
        f"{way}, {how}": _connected(ground, how, action)
        for way, action in ways.items()
        for how in (OFF, API, SDK)
    }
    times = take_turns(rounds, contenders)
    each = {name: statistics.median(seconds) / RECORDS * 1e6 for name, seconds in times.items()}
    return [
        *(Row("tracing", name, value, "µs") for name, value in each.items()),
        *(
            Row(
                "what tracing adds",
                f"{way}, {how}",
                each[f"{way}, {how}"] - each[f"{way}, {OFF}"],
                "µs",
            )
            for way in ways
            for how in (API, SDK)
        ),
    ]


def _connected(ground: Ground, how: str, action: Callable[[], float]) -> Callable[[], float]:
    """The action with a connection that is traced like this."""

    def measured() -> float:
        get_kafka_connection().reset()
        connect(bootstrap_servers=ground.bootstrap)
        if how == API:
            connect(tracing=Tracing(NoOpTracerProvider()))
        elif how == SDK:
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
            connect(tracing=Tracing(provider))
        return action()

    return measured


def _send(topic: str) -> float:
    read(topic)
    orders = [
        Order(order_id=n, customer="c", product="p", amount=1.0, quantity=1, paid=True)
        for n in range(RECORDS)
    ]
    started = time.perf_counter()
    Order.produce_many(orders)
    return time.perf_counter() - started


def _handle(topic: str, *, is_async: bool) -> float:
    tally = Tally(RECORDS)
    run_to_the_end(
        async_loop(topic, tally) if is_async else sync_loop(topic, tally, "after_processing")
    )
    return tally.seconds
