"""Throughput of the loops as a ratio to a hand-written confluent-kafka loop, in the same run.

    python benchmarks/consume.py [--records 200000] [--rounds 3]

Starts a real Kafka (Java and Maven are needed), produces typed orders, and consumes them with
each contender in turn, round after round, each time with a new group from the beginning. A round
counts from the first handled record to the last one. Printed are medians and the ratio to the
hand-written loop; a ratio above 1 is faster than it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import uuid
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import fastavro
from brokers import records
from brokers.kafka_server import KafkaServer
from confluent_kafka import Consumer, TopicPartition

from flowodm import AsyncConsumerLoop, ConsumerLoop, FlowBaseModel, HighThroughputSettings, connect
from flowodm.avro.mapping import record_schema

if TYPE_CHECKING:
    from collections.abc import Callable

PARTITIONS = 4


class Order(FlowBaseModel):
    class Settings:
        topic = "benchmark"
        key_field = "customer"

    order_id: int
    customer: str
    product: str
    amount: float
    quantity: int
    paid: bool


class Profile(HighThroughputSettings):
    auto_offset_reset = "earliest"
    max_poll_records = 500


class Progress:
    """Counts handled records; knows when the first and the last one came."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.first = self.last = 0.0

    def count(self) -> bool:
        """One more; whether it was the last."""
        if not self.first:
            self.first = time.perf_counter()
        self.left -= 1
        if self.left:
            return False
        self.last = time.perf_counter()
        return True

    @property
    def seconds(self) -> float:
        return self.last - self.first


def by_hand(bootstrap: str, progress: Progress) -> None:
    schema = fastavro.parse_schema(record_schema(Order))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([Order.Settings.topic])
    positions: dict[int, int] = {}
    next_commit = time.monotonic() + 1
    done = False
    while not done:
        for message in consumer.consume(500, 0.1):
            if message.error():
                raise RuntimeError(message.error())
            values = fastavro.schemaless_reader(BytesIO(message.value()), schema, None)
            Order.model_validate(values)
            positions[message.partition()] = message.offset() + 1
            done = progress.count()
        if time.monotonic() >= next_commit and positions:
            offsets = [TopicPartition(Order.Settings.topic, p, o) for p, o in positions.items()]
            consumer.commit(offsets=offsets, asynchronous=True)
            next_commit = time.monotonic() + 1
    consumer.close()


def with_loop(strategy: str) -> Callable[[str, Progress], None]:
    def run(_bootstrap: str, progress: Progress) -> None:
        def handle(_order: Order) -> None:
            if progress.count():
                loop.stop()

        loop = ConsumerLoop(
            Order, handle, Profile(), group_id=uuid.uuid4().hex, commit_strategy=strategy
        )
        loop.run()

    return run


def with_async_loop(_bootstrap: str, progress: Progress) -> None:
    async def handle(_order: Order) -> None:
        if progress.count():
            loop.stop()

    loop = AsyncConsumerLoop(
        Order,
        handle,
        Profile(),
        group_id=uuid.uuid4().hex,
        commit_strategy="after_processing",
        max_concurrent=100,
    )
    asyncio.run(loop.run())


CONTENDERS = {
    "by hand": by_hand,
    "ConsumerLoop after_processing": with_loop("after_processing"),
    "ConsumerLoop before_processing": with_loop("before_processing"),
    "AsyncConsumerLoop, trivial handler": with_async_loop,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--records", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    with KafkaServer() as server:
        bootstrap = server.bootstrap_servers
        connect(bootstrap_servers=bootstrap)
        records.create_topic(bootstrap, Order.Settings.topic, PARTITIONS)
        for number in range(options.records):
            Order(
                order_id=number,
                customer=f"customer-{number % 1000}",
                product="a thing",
                amount=number / 4,
                quantity=number % 7,
                paid=True,
            ).produce_nowait()
        assert Order.get_producer().flush(60) == 0
        seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in range(options.rounds):
            for name, run in CONTENDERS.items():
                progress = Progress(options.records)
                run(bootstrap, progress)
                seconds[name].append(progress.seconds)
    base = statistics.median(seconds["by hand"])
    print(f"{options.records} records, {options.rounds} rounds, medians")
    for name, times in seconds.items():
        median = statistics.median(times)
        each = median / options.records * 1e6
        print(f"{name:36} {options.records / median:9.0f}/s {each:6.2f} µs  x{base / median:.2f}")


if __name__ == "__main__":
    main()
