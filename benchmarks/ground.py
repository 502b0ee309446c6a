"""What every contest needs: a real Kafka, typed orders in its topics, a count of what was handled.

The tests' own broker is used, so nothing has to be installed but Java and Maven.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from flowodm import FlowBaseModel, HighThroughputSettings, connect
from flowodm.avro.codec import codec_for
from flowodm.consumer.engine.offsets import Position, settled_beyond
from support.brokers import clients
from support.brokers.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTITIONS = 4
KEYS = 100
#: Distinct orders; a topic with more records repeats them.
DISTINCT = 10_000
#: Seconds that the handler of each distinct order takes where it takes any: 0 to 5 ms.
DELAYS = [random.Random(number).uniform(0, 0.005) for number in range(DISTINCT)]


class Order(FlowBaseModel):
    """Six fields; the topic is the contest's, set by :meth:`Ground.topic`."""

    class Settings:
        topic = "orders"
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


class Tally:
    """Counts handled records; knows when the first and the last one came."""

    def __init__(self, expected: int) -> None:
        self.expected = self.left = expected
        self.first = self.last = 0.0
        self.complete = threading.Event()

    def count(self) -> bool:
        """One more; whether it was the last."""
        if not self.first:
            self.first = time.perf_counter()
        self.left -= 1
        if self.left:
            return False
        self.last = time.perf_counter()
        self.complete.set()
        return True

    @property
    def handled(self) -> int:
        return self.expected - self.left

    @property
    def seconds(self) -> float:
        return self.last - self.first


class Ground:
    """``with Ground() as ground:`` a Kafka to which the library is connected."""

    def __init__(self) -> None:
        self._server = KafkaServer(heap="1g")

    def __enter__(self) -> Self:
        self._server.__enter__()
        connect(bootstrap_servers=self.bootstrap)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.__exit__(*exception)  # type: ignore[arg-type]  # passed through

    @property
    def bootstrap(self) -> str:
        return self._server.bootstrap_servers

    def topic(self, count: int, *, partitions: int = PARTITIONS) -> str:
        """A new topic with so many orders, evenly over its partitions and over 100 keys.

        With 4 partitions each key is in one of them, as a partitioner would have it.
        """
        name = f"orders-{partitions}-{uuid.uuid4().hex[:8]}"
        new = NewTopic(name, partitions, replication_factor=1)
        admin = clients.admin_client(self.bootstrap)
        admin.create_topics([new], operation_timeout=60.0)[name].result(60.0)
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "linger.ms": 20,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        distinct = list(orders())
        for number in range(count):
            key, value = distinct[number % DISTINCT]
            while True:
                try:
                    producer.produce(name, value, key, partition=number % partitions)
                    break
                except BufferError:
                    producer.poll(0.1)
        if waiting := producer.flush(120):
            raise RuntimeError(f"{waiting} records could not be produced")
        return name

    def committed(self, topic: str, group: str) -> int:
        """How many records a group has committed: the offsets, and what is noted beyond them."""
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        found = clients.committed(self.bootstrap, group, places, 10.0)
        positions = [Position(place.offset, place.metadata or "") for place in found]
        return sum(max(p.offset, 0) + len(settled_beyond(p)) for p in positions)


def orders() -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every distinct order."""
    encode = codec_for(Order).encode
    for number in range(DISTINCT):
        order = Order(
            order_id=number,
            customer=f"customer-{number % KEYS}",
            product="a thing",
            amount=number / 4,
            quantity=number % 7,
            paid=True,
        )
        yield order.customer.encode(), encode(order)


def read(topic: str) -> str:
    """Let the loops consume this topic, with a new group; returns the group."""
    Order.Settings.topic = topic
    return uuid.uuid4().hex


def resident() -> float:
    """Megabytes of this process's memory that are in RAM (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
