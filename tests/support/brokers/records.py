"""Topics, records and offsets of a real broker, seen without flowodm."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from support.brokers.clients import IMPATIENT, admin_client, committed, consumer_of
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from confluent_kafka import KafkaError, Message

ANSWER_TIMEOUT = 10.0
DELIVERY_TIMEOUT = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Raw:
    """One record to produce; a value of None is a tombstone, no partition is the partitioner's."""

    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def create_topic(
    bootstrap: str, name: str, partitions: int = 4, config: Mapping[str, str] | None = None
) -> None:
    """Create a topic and wait until each of its partitions has a leader."""
    admin = admin_client(bootstrap)
    new = NewTopic(name, partitions, replication_factor=1, config=dict(config or {}))
    admin.create_topics([new], operation_timeout=ANSWER_TIMEOUT)[name].result(ANSWER_TIMEOUT)

    wait_until(
        lambda: len(end_offsets(bootstrap, name)) == partitions,
        ANSWER_TIMEOUT,
        f"{partitions} partitions of {name} have a leader",
        despite=AssertionError,
    )


def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[Raw | bytes | None],
    timeout: float = DELIVERY_TIMEOUT,
) -> int:
    """Produce all of them, in order within a partition; return how many the broker acknowledged.

    AssertionError unless it acknowledged every one.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            # Not an idempotent one, which takes half a second for its id: one request at a time
            # keeps the order too.
            "acks": "all",
            "max.in.flight.requests.per.connection": 1,
            "queue.buffering.max.messages": 1_000_000,
            **IMPATIENT,
        }
    )
    refused: list[str] = []
    sent = 0

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refused.append(str(error))

    for record in records:
        raw = record if isinstance(record, Raw) else Raw(record)
        place = {} if raw.partition is None else {"partition": raw.partition}
        producer.produce(
            topic, raw.value, raw.key, on_delivery=delivered, headers=list(raw.headers), **place
        )
        producer.poll(0)
        sent += 1
    waiting = producer.flush(timeout)
    if waiting or refused:
        raise AssertionError(
            f"of {sent} records for {topic}, {waiting} are unacknowledged after "
            f"{timeout:g} s and {len(refused)} were refused: {refused[:3]}"
        )
    return sent


def committed_offsets(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Partition to committed offset, for those partitions of which the group committed one."""
    places = [TopicPartition(topic, number) for number in _partitions(bootstrap, topic)]

    def ask() -> list[TopicPartition]:
        return committed(bootstrap, group, places, ANSWER_TIMEOUT)

    what = f"the coordinator of {group} says what is committed for {topic}"
    found = wait_until(ask, ANSWER_TIMEOUT, what, despite=KafkaException)
    return {place.partition: place.offset for place in found if place.offset >= 0}


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Partition to the offset that the next record gets, for every partition of the topic."""
    admin = admin_client(bootstrap)
    asked = {
        TopicPartition(topic, number): OffsetSpec.latest()
        for number in _partitions(bootstrap, topic)
    }

    def ask() -> dict[int, int]:
        answer = admin.list_offsets(asked, request_timeout=ANSWER_TIMEOUT)
        return {place.partition: future.result().offset for place, future in answer.items()}

    # A leader in the metadata may not know yet that it is the leader.
    what = f"the leaders of {topic} say where it ends"
    return wait_until(ask, ANSWER_TIMEOUT, what, despite=KafkaException)


def read_all(bootstrap: str, topic: str) -> list[Message]:
    """Every record that the topic holds now, in order within each partition."""
    ends = {number: end for number, end in end_offsets(bootstrap, topic).items() if end > 0}
    places = [TopicPartition(topic, number, 0) for number in ends]
    records: list[Message] = []

    def complete() -> bool:
        for message in consumer.consume(1_000, timeout=0.1):
            if message.error() is not None:
                raise AssertionError(f"reading {topic}: {message.error()}")
            records.append(message)
        # Positions and not counts: a transaction's markers take offsets too.
        return all(
            place.offset >= ends[place.partition] for place in consumer.position(list(places))
        )

    with consumer_of(bootstrap, "read-all") as consumer:  # a name is required, nobody joins
        consumer.assign(places)
        wait_until(complete, DELIVERY_TIMEOUT, f"{topic} is read up to {ends}")
    return records


def _partitions(bootstrap: str, topic: str) -> list[int]:
    found = admin_client(bootstrap).list_topics(topic, timeout=ANSWER_TIMEOUT).topics[topic]
    if found.error is not None:
        raise AssertionError(f"there is no topic {topic}: {found.error}")
    return list(found.partitions)
