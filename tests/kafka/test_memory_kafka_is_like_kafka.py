"""One suite for two Kafkas: what is so in flowodm.testing's in memory is so on a real one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from flowodm import AsyncConsumerLoop, BaseSettings, ConsumerLoop, connect
from flowodm.connection import get_consumer, get_kafka_connection, get_producer
from flowodm.consumer.dead_letters.headers import DeadLetter
from flowodm.events import Outcome
from flowodm.testing import InMemoryKafka, Record
from support.brokers.records import (
    Raw,
    committed_offsets,
    create_topic,
    end_offsets,
    produce,
    read_all,
)
from support.loops import PATIENCE, POISON, Events, Running, brisk, number, numbers_model
from support.waiting import wait_until


class RealPlace:
    """A topic of three partitions on a real Kafka."""

    def __init__(self, kafka: str, topic: str, group: str) -> None:
        connect(bootstrap_servers=kafka)
        self.kafka, self.topic, self.group = kafka, topic, group
        self.create(topic, 3)

    def create(self, topic: str, partitions: int) -> None:
        create_topic(self.kafka, topic, partitions)

    def put(self, *records: Raw) -> None:
        produce(self.kafka, self.topic, records)

    def committed(self) -> dict[int, int]:
        return committed_offsets(self.kafka, self.group, self.topic)

    def ends(self) -> dict[int, int]:
        return {p: end for p, end in end_offsets(self.kafka, self.topic).items() if end}

    def holds(self, topic: str) -> list:
        return read_all(self.kafka, topic)


class MemoryPlace(RealPlace):
    """The same in memory."""

    def __init__(self, kafka: InMemoryKafka, topic: str, group: str) -> None:
        self.kafka, self.topic, self.group = kafka, topic, group
        self.create(topic, 3)

    def create(self, topic: str, partitions: int) -> None:
        self.kafka.create_topic(topic, partitions)

    def put(self, *records: Raw) -> None:
        for raw in records:
            self.kafka.append(self.topic, Record(raw.value, raw.key, raw.headers, raw.partition))

    def committed(self) -> dict[int, int]:
        return self.kafka.committed(self.group, self.topic)

    def ends(self) -> dict[int, int]:
        logs = self.kafka.log.topics[self.topic]
        return {partition: len(log) for partition, log in enumerate(logs) if log}

    def holds(self, topic: str) -> list:
        return self.kafka.records(topic)


@pytest.fixture(params=["memory", "real"])
def place(request, kafka, group):
    topic = f"like-{group}"
    if request.param == "real":
        yield RealPlace(kafka, topic, group)
        return
    with InMemoryKafka() as memory:
        yield MemoryPlace(memory, topic, group)


class Drive:
    """Runs one loop until everything in the topic is committed."""

    def __init__(self, place: RealPlace) -> None:
        self.place = place
        self.model = numbers_model(place.topic, place.group)

    def __call__(self, handler, kind="sync", until=None, **options):
        """The events of a run until all is committed, or until something else is true."""
        place, events = self.place, Events()
        options = {"settings": brisk(), "commit_strategy": "after_processing", **options}
        make = ConsumerLoop if kind == "sync" else AsyncConsumerLoop
        loop = make(self.model, handler, observers=[events], **options)
        with Running(loop, events) as running:
            running.joined()
            until = until or (lambda: place.committed() == place.ends())
            wait_until(until, PATIENCE, f"{place.topic} is worked off")
            running.stop()
        return events


@pytest.fixture
def drive(place):
    return Drive(place)


def on_three_partitions(count: int) -> list[Raw]:
    return [Raw(number(n), b"%d" % (n % 7), n % 3) for n in range(count)]


# ---- loops ----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
def test_each_partitions_records_are_handled_once_in_their_order(place, drive, strategy):
    place.put(*on_three_partitions(60))
    seen = defaultdict(list)

    drive(lambda m, context: seen[context.partition].append(m.n), commit_strategy=strategy)

    assert seen == {p: list(range(p, 60, 3)) for p in range(3)}
    assert place.committed() == {0: 20, 1: 20, 2: 20}


def test_a_context_tells_key_headers_place_and_time(place, drive):
    sent = datetime.now(UTC)
    headers = (("a", b"1"), ("none", None), ("a", b"2"))
    place.put(Raw(number(1), b"key", 2, headers), Raw(number(2), None, 2))
    seen = []

    def handle(message, context) -> None:
        assert abs((context.timestamp - sent).total_seconds()) < PATIENCE
        seen.append((context.key, context.headers, context.partition, context.offset))

    drive(handle)

    assert seen == [(b"key", headers, 2, 0), (None, (), 2, 1)]


def test_a_second_run_begins_where_the_first_ended_and_knows_what_was_done_out_of_order(
    place, drive
):
    """The commit's note survives: the middle record is missing, the last one done."""
    place.put(*(Raw(number(n), b"%d" % n, 0) for n in range(3)))
    release, seen = threading.Event(), []

    async def handle(message) -> None:
        if message.n == 1 and not release.is_set():
            raise OSError("not now")
        seen.append(message.n)

    forever = {"max_retries": 10**6, "retry_delay": 3600.0, "retry_max_delay": 3600.0}

    def all_but_one() -> bool:
        return place.committed() == {0: 1} and sorted(seen) == [0, 2]

    drive(handle, "async", until=all_but_one, ordering="key", **forever)
    release.set()
    drive(handle, "async", ordering="key")

    assert seen[2:] == [1]
    assert place.committed() == {0: 3}


def test_failures_become_dead_letters_with_everything_they_had(place, drive):
    letters = f"{place.topic}.DLT"
    place.create(letters, 1)
    place.put(
        Raw(number(1), b"k", 0, (("h", b"v"),)),
        Raw(POISON, b"p", 0),
        Raw(number(2), None, 0),
    )

    def handle(message) -> None:
        if message.n == 1:
            raise ValueError("not this one")

    events = drive(handle, max_retries=1, retry_delay=0.0, dead_letter_topic=letters)

    assert events.outcomes() == {Outcome.DEAD_LETTERED: 2, Outcome.PROCESSED: 1}
    first, second = place.holds(letters)
    assert (first.key(), first.value(), first.headers()[0]) == (b"k", number(1), ("h", b"v"))
    assert (second.key(), second.value()) == (b"p", POISON)
    letter = DeadLetter.of(first)
    assert (letter.original_topic, letter.original_partition) == (place.topic, 0)
    assert (letter.original_offset, letter.exception_message) == (0, "not this one")
    assert letter.group == place.group


def test_tombstones_and_what_is_filtered_are_counted(place, drive):
    place.put(Raw(None, b"gone", 0), Raw(number(1), b"k", 0, (("skip", b""),)), Raw(number(2)))

    events = drive(lambda m: None, header_filter=lambda headers: "skip" not in headers)

    expected = {Outcome.TOMBSTONE: 1, Outcome.FILTERED: 1, Outcome.PROCESSED: 1}
    assert events.outcomes() == expected


@pytest.mark.parametrize(("start", "first"), [("latest", 4), ({0: 3}, 3), ("moment", 2)])
def test_a_new_group_begins_where_it_is_told(place, drive, start, first):
    place.put(Raw(number(0), None, 0), Raw(number(1), None, 0))
    if start == "moment":
        now = time.time()
        wait_until(lambda: time.time() > now + 0.01, PATIENCE, "the clock has gone on")
        start = datetime.now(UTC)
    place.put(Raw(number(2), None, 0), Raw(number(3), None, 0))
    seen = []

    def later_too() -> bool:
        if place.ends()[0] == 4:
            place.put(Raw(number(4), None, 0))
        return place.committed().get(0) == 5

    drive(lambda m: seen.append(m.n), until=later_too, start_from=start)

    assert seen == list(range(first, 5))


def test_pinned_partitions_are_read_and_no_others(place, drive):
    place.put(*on_three_partitions(9))
    seen = []

    def done() -> bool:
        return place.committed() == {0: 3, 2: 3}

    drive(lambda m, context: seen.append(context.partition), until=done, partitions=[0, 2])

    assert sorted(seen) == [0, 0, 0, 2, 2, 2]


def test_batches_are_filled(place, drive):
    place.put(*(Raw(number(n), None, 0) for n in range(10)))
    sizes = []

    drive(lambda batch: sizes.append(len(batch)), batch_size=4)

    assert sizes == [4, 4, 2]


def test_a_paused_loop_handles_nothing_until_it_is_resumed(place, drive):
    seen, events = [], Events()
    loop = ConsumerLoop(
        drive.model, lambda m: seen.append(m.n), settings=brisk(), observers=[events]
    )
    with Running(loop, events) as running:
        running.joined()
        loop.pause()
        wait_until(lambda: running.status().paused == 3, PATIENCE, "it is paused")
        place.put(*on_three_partitions(3))
        with pytest.raises(AssertionError):
            wait_until(lambda: seen, 0.3, "something is handled")
        loop.resume()
        wait_until(lambda: len(seen) == 3, PATIENCE, "all is handled")
        running.stop()


def test_what_a_handler_produces_has_its_key_and_headers(place, drive):
    target = f"{place.topic}-out"
    place.create(target, 1)
    place.put(Raw(number(7), None, 0))
    other = numbers_model(target, place.group)

    drive(lambda m: other(n=m.n).produce(key="k", headers={"h": b"v"}))

    (record,) = place.holds(target)
    assert (record.key(), record.value(), record.headers()) == (b"k", number(7), [("h", b"v")])


# ---- clients --------------------------------------------------------------------------------


@contextlib.contextmanager
def consumer_of(place, **properties):
    config = {"enable.partition.eof": True, **properties}
    settings = BaseSettings(session_timeout_ms=6000, heartbeat_interval_ms=200, extra_config=config)
    consumer = get_kafka_connection().get_consumer(place.group, settings=settings)
    try:
        yield consumer
    finally:
        consumer.close()


def take(consumer, count: int) -> list:
    """So many events: records, and ends of partitions."""
    found = []

    def enough() -> bool:
        found.extend(consumer.consume(count - len(found), 0.1))
        return len(found) >= count

    wait_until(enough, PATIENCE, f"{count} events come")
    return found


def test_a_partitions_end_is_told_once_after_its_last_record(place):
    place.put(Raw(number(1), None, 0))
    with consumer_of(place) as consumer:
        consumer.assign([TopicPartition(place.topic, 0, 0)])
        record, end = take(consumer, 2)

        assert (record.error(), record.offset(), len(record)) == (None, 0, 1)
        assert end.error().code() == KafkaError._PARTITION_EOF
        assert (end.topic(), end.partition(), end.offset()) == (place.topic, 0, 1)
        assert consumer.poll(0.2) is None


def test_offsets_and_their_notes_are_committed_and_found_again(place):
    with consumer_of(place) as consumer:
        places = [TopicPartition(place.topic, n) for n in (0, 1)]
        assert [p.offset for p in consumer.committed(places, timeout=PATIENCE)] == [
            OFFSET_INVALID,
            OFFSET_INVALID,
        ]
        wanted = [TopicPartition(place.topic, 0, 5, "a note")]
        (answer,) = consumer.commit(offsets=wanted, asynchronous=False)
        assert (answer.offset, answer.error) == (5, None)
        found, other = consumer.committed(places, timeout=PATIENCE)
        assert (found.offset, found.metadata, other.offset) == (5, "a note", OFFSET_INVALID)


def test_an_asynchronous_commit_is_answered_in_a_later_poll(place):
    answers = []

    def answered(error, places):
        answers.append((error, [(p.partition, p.offset) for p in places]))

    with consumer_of(place, on_commit=answered) as consumer:
        wanted = [TopicPartition(place.topic, 1, 3)]
        assert consumer.commit(offsets=wanted, asynchronous=True) is None
        assert answers == []
        wait_until(lambda: consumer.poll(0.05) or answers, PATIENCE, "the answer has come")
    assert answers == [(None, [(1, 3)])]


def test_positions_and_ends_are_told(place):
    place.put(Raw(number(1), None, 0), Raw(number(2), None, 0))
    with consumer_of(place) as consumer:
        here = TopicPartition(place.topic, 0)
        assert consumer.get_watermark_offsets(here, timeout=PATIENCE) == (0, 2)
        consumer.assign([TopicPartition(place.topic, 0, 0)])
        take(consumer, 2)
        assert [p.offset for p in consumer.position([here])] == [2]
        assert consumer.get_watermark_offsets(here, cached=True)[1] == 2
        consumer.seek(TopicPartition(place.topic, 0, 1))
        found = take(consumer, 2)
        assert [record.offset() for record in found] == [1, 2]


def test_a_time_leads_to_the_first_record_that_is_no_older(place):
    place.put(Raw(number(1), None, 0))
    with consumer_of(place) as consumer:

        def ask(when):
            asked = [TopicPartition(place.topic, 0, when)]
            return consumer.offsets_for_times(asked, timeout=PATIENCE)[0].offset

        assert ask(1) == 0
        assert ask(int(time.time() * 1000) + 3_600_000) == OFFSET_END
        assert ask(OFFSET_BEGINNING) == 0
        assert ask(OFFSET_END) == 1


def test_nothing_comes_of_a_paused_partition(place):
    place.put(Raw(number(1), None, 0), Raw(number(2), None, 1))
    with consumer_of(place, **{"enable.partition.eof": False}) as consumer:
        consumer.assign([TopicPartition(place.topic, n, 0) for n in (0, 1)])
        consumer.pause([TopicPartition(place.topic, 0)])
        (record,) = take(consumer, 1)
        assert record.partition() == 1
        assert consumer.poll(0.3) is None
        consumer.resume([TopicPartition(place.topic, 0)])
        (record,) = take(consumer, 1)
        assert record.partition() == 0


def test_members_are_told_what_they_get_and_what_they_lose(place):
    told = []
    with consumer_of(place) as consumer:
        consumer.subscribe(
            [place.topic],
            on_assign=lambda c, parts: told.append(("assign", sorted(p.partition for p in parts))),
            on_revoke=lambda c, parts: told.append(("revoke", sorted(p.partition for p in parts))),
        )
        take(consumer, 3)  # the ends of three empty partitions
        assert consumer.memberid()
        assert sorted(p.partition for p in consumer.assignment()) == [0, 1, 2]
    assert told == [("assign", [0, 1, 2]), ("revoke", [0, 1, 2])]


def test_a_closed_consumer_says_so(place):
    with consumer_of(place) as consumer:
        consumer.close()
        for call in (
            lambda: consumer.poll(0),
            lambda: consumer.consume(1, 0),
            lambda: consumer.committed([], timeout=1),
        ):
            with pytest.raises(RuntimeError, match="Consumer closed"):
                call()


def test_a_position_that_nobody_was_given_cannot_be_sought(place):
    with consumer_of(place) as consumer, pytest.raises(KafkaException):
        consumer.seek(TopicPartition(place.topic, 0, 0))


def test_a_delivery_report_has_the_records_place(place):
    reports = []
    producer = get_producer()
    producer.produce(
        place.topic,
        value="text",
        key=b"k",
        partition=1,
        headers={"h": "v"},
        timestamp=1_700_000_000_000,
        on_delivery=lambda error, record: reports.append((error, record)),
    )
    assert producer.flush(PATIENCE) == 0
    wait_until(lambda: reports, PATIENCE, "it is reported")

    (error, record) = reports[0]
    assert error is None
    assert (record.topic(), record.partition(), record.offset()) == (place.topic, 1, 0)
    (stored,) = place.holds(place.topic)
    assert (stored.value(), stored.key(), stored.headers()) == (b"text", b"k", [("h", b"v")])
    assert stored.timestamp() == (1, 1_700_000_000_000)


def test_a_key_decides_on_the_partition_in_the_same_way(place):
    producer = get_producer()
    for n in range(20):
        producer.produce(place.topic, b"x", key=b"key-%d" % n)
    producer.flush(PATIENCE)

    found = {record.key(): record.partition() for record in place.holds(place.topic)}
    assert [found[b"key-%d" % n] for n in range(8)] == [0, 2, 0, 2, 1, 0, 2, 2]


def test_a_topics_partitions_are_listed(place):
    found = get_producer().list_topics(place.topic, timeout=PATIENCE).topics[place.topic]

    assert found.error is None
    assert sorted(found.partitions) == [0, 1, 2]


def test_a_group_that_was_left_is_entered_at_what_was_committed(place):
    place.put(Raw(number(1), None, 0), Raw(number(2), None, 0))
    with consumer_of(place, **{"enable.partition.eof": False}) as consumer:
        consumer.subscribe([place.topic])
        first, _ = take(consumer, 2)
        consumer.commit(message=first, asynchronous=False)
    with consumer_of(place, **{"enable.partition.eof": False}) as consumer:
        consumer.subscribe([place.topic])
        (again,) = take(consumer, 1)
    assert again.offset() == 1


def test_a_subscription_to_be_shared_is_found_again(place):
    assert get_consumer(place.group, [place.topic]) is get_consumer(place.group, [place.topic])
    get_consumer(place.group, [place.topic]).close()
