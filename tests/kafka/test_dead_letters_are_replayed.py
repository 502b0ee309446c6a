"""Dead letters are looked at, and put back where they failed, each once."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from flowodm import (
    ConfigurationError,
    ConsumerError,
    ProducerError,
    Replayed,
    TopicError,
    connect,
    list_dead_letters,
    replay_dead_letters,
)
from flowodm.consumer.dead_letters import reader, replay
from flowodm.consumer.dead_letters import topic as dead_letter
from flowodm.consumer.dead_letters.topic import DeadLetterTopic
from support.brokers.clients import admin_client, consumer_of
from support.brokers.jvm import free_port
from support.brokers.records import Raw, committed_offsets, end_offsets, produce, read_all
from support.waiting import wait_until

PATIENCE = 30.0


class Shop:
    """A topic of three partitions, and its dead letters in one of two."""

    def __init__(self, kafka, source, dead):
        self.kafka = kafka
        self.source = source
        self.dead = dead
        self._seen = dict.fromkeys(end_offsets(kafka, source), 0)

    def bury(self, *raws, error=None):
        """Produce these to the source, and send them to the dead letters."""
        produce(self.kafka, self.source, raws)
        dead_letters = DeadLetterTopic(self.dead, "shop")
        for record in self.arrived():
            dead_letters.send(record, error or LookupError("no such order"))

    def arrived(self, topic=None):
        """The source's records since the last question; all of another topic's."""
        records = read_all(self.kafka, topic or self.source)
        if topic is None:
            records = [r for r in records if r.offset() >= self._seen[r.partition()]]
            self._seen = end_offsets(self.kafka, self.source)
        return records

    def values(self, topic=None):
        return sorted(record.value() for record in self.arrived(topic))

    def committed(self, group=None):
        return committed_offsets(self.kafka, group or f"{self.dead}-replay", self.dead)


@pytest.fixture
def shop(kafka, new_topic):
    connect(bootstrap_servers=kafka)
    return Shop(kafka, new_topic(3), new_topic(2))


@pytest.fixture
def closed(monkeypatch):
    """Which of the consumers that were made are closed, in the order of their making."""
    states = []

    class Recorded(Consumer):
        def __init__(self, config):
            super().__init__(config)
            self._number = len(states)
            states.append(False)

        def close(self):
            super().close()
            states[self._number] = True

    monkeypatch.setattr(reader, "Consumer", Recorded)
    return states


def numbered(count, partition=0):
    return [Raw(b"%d" % n, b"k", partition) for n in range(count)]


def wants(*values):
    return lambda letter: letter.value in values


# ---- looking at them -----------------------------------------------------------------------


def test_a_listed_dead_letter_says_where_it_is_where_it_failed_and_why(shop, kafka):
    began = datetime.now(UTC) - timedelta(seconds=1)
    shop.bury(Raw(b"v", b"k", 2, (("own", b"1"),)), error=ValueError("broken"))

    (letter,) = list_dead_letters(shop.dead)

    assert letter.topic == shop.dead
    assert letter.partition in {0, 1}
    assert letter.offset == 0
    assert (letter.original_topic, letter.original_partition) == (shop.source, 2)
    assert letter.original_offset == 0
    assert (letter.key, letter.value) == (b"k", b"v")
    assert letter.original_headers == (("own", b"1"),)
    assert (letter.group, letter.exception_class) == ("shop", "ValueError")
    assert letter.exception_message == "broken"
    assert letter.stack_trace.startswith("ValueError: broken")
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert began <= letter.original_timestamp <= letter.timestamp <= now


def test_listing_ends_at_what_was_there_when_it_was_asked(shop):
    shop.bury(*numbered(5))

    listing = list_dead_letters(shop.dead)
    first = next(listing)
    produce(shop.kafka, shop.dead, [Raw(b"late", b"k")])

    assert [first.value, *(letter.value for letter in listing)] == [b"0", b"1", b"2", b"3", b"4"]


def test_listing_joins_no_group_and_commits_nothing(shop):
    shop.bury(*numbered(3))

    assert len(list(list_dead_letters(shop.dead))) == 3
    assert len(list(list_dead_letters(shop.dead))) == 3

    groups = admin_client(shop.kafka).list_consumer_groups().result(PATIENCE)
    assert f"{shop.dead}-replay" not in {group.group_id for group in groups.valid}


@pytest.mark.parametrize(("limit", "count"), [(0, 0), (2, 2), (5, 3), (None, 3)])
def test_listing_gives_as_many_as_asked_for(shop, closed, limit, count):
    shop.bury(*numbered(3))

    assert len(list(list_dead_letters(shop.dead, limit=limit))) == count
    assert all(closed)


def test_an_iterator_that_is_left_early_has_closed_its_consumer(shop, closed):
    shop.bury(*numbered(3))

    listing = list_dead_letters(shop.dead)
    assert closed == [True]
    next(listing)
    assert closed == [True, False]
    listing.close()
    assert closed == [True, True]

    list_dead_letters(shop.dead)
    assert closed == [True, True, True], "one that nobody starts holds no consumer"


def test_foreign_records_are_listed_too(shop):
    produce(shop.kafka, shop.dead, [Raw(None), Raw(b"v", b"k", 0, (("kafka_dlt-x", b"\xff"),))])

    letters = {letter.value: letter for letter in list_dead_letters(shop.dead)}

    assert letters[None].headers == ()
    assert letters[b"v"].original_topic is None


# ---- putting them back -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        Raw(b"v", b"k", 1, (("a", b"1"), ("b", None), ("a", b"2"))),
        Raw(None, b"k", 2),
        Raw(b"", b"", 0),
        Raw(b"v", None, 1),
    ],
    ids=["all", "tombstone", "empty", "no key"],
)
def test_a_replayed_record_is_the_original_one_and_says_how_often_it_was_replayed(shop, raw):
    shop.bury(raw)

    for times in (b"1", b"2"):
        assert replay_dead_letters(shop.dead) == Replayed(count=1, left=0, complete=True)
        (record,) = shop.arrived()
        assert (record.key(), record.value(), record.partition()) == (
            raw.key,
            raw.value,
            raw.partition,
        )
        assert tuple(record.headers()) == (*raw.headers, ("flowodm_replays", times))
        DeadLetterTopic(shop.dead, "shop").send(record, LookupError())

    assert max(letter.replays for letter in list_dead_letters(shop.dead)) == 2


def test_a_second_replay_begins_where_the_first_one_ended(shop):
    shop.bury(*numbered(120))
    assert replay_dead_letters(shop.dead) == Replayed(120, 0, complete=True)
    assert len(shop.values()) == 120

    assert replay_dead_letters(shop.dead) == Replayed(0, 0, complete=True)

    shop.bury(Raw(b"new", b"k", 1))
    assert replay_dead_letters(shop.dead) == Replayed(1, 0, complete=True)
    assert shop.values() == [b"new"]
    ends = end_offsets(shop.kafka, shop.dead)
    assert shop.committed() == {number: end for number, end in ends.items() if end}


def test_the_order_within_a_partition_is_kept(shop):
    shop.bury(*numbered(150, partition=1))

    replay_dead_letters(shop.dead)

    assert [record.value() for record in shop.arrived()] == [b"%d" % n for n in range(150)]


def test_another_group_replays_them_again(shop):
    shop.bury(*numbered(2))
    replay_dead_letters(shop.dead)

    assert replay_dead_letters(shop.dead, group_id=f"{shop.dead}-again").count == 2
    assert shop.values() == [b"0", b"0", b"1", b"1"]
    assert sum(shop.committed(f"{shop.dead}-again").values()) == 2


def test_to_puts_them_to_another_topic_wherever_its_partitioner_says(shop, new_topic):
    other = new_topic(1)
    shop.bury(*numbered(2, partition=2))
    produce(shop.kafka, shop.dead, [Raw(b"foreign", b"k")])

    assert replay_dead_letters(shop.dead, to=other) == Replayed(3, 0, complete=True)

    assert shop.values(other) == [b"0", b"1", b"foreign"]
    assert shop.values() == []


def test_a_partition_that_is_no_more_leaves_it_to_the_partitioner(shop):
    headers = (
        ("kafka_dlt-original-topic", shop.source.encode()),
        ("kafka_dlt-original-partition", b"\x00\x00\x00\x63"),
    )
    produce(shop.kafka, shop.dead, [Raw(b"v", b"k", 0, headers)])

    replay_dead_letters(shop.dead)

    assert shop.values() == [b"v"]


def test_limit_puts_back_so_many_and_the_next_replay_the_rest(shop):
    shop.bury(*numbered(5))

    assert replay_dead_letters(shop.dead, limit=0) == Replayed(0, 0, complete=False)
    assert replay_dead_letters(shop.dead, limit=3) == Replayed(3, 0, complete=False)
    assert shop.values() == [b"0", b"1", b"2"]
    assert replay_dead_letters(shop.dead, limit=3) == Replayed(2, 0, complete=True)
    assert shop.values() == [b"3", b"4"]


def test_those_that_are_not_wanted_stay_and_no_other_is_replayed_twice(shop):
    shop.bury(*numbered(6))

    assert replay_dead_letters(shop.dead, where=wants(b"2", b"4")) == Replayed(2, 4, complete=True)
    assert shop.values() == [b"2", b"4"]
    assert replay_dead_letters(shop.dead, where=wants(b"2", b"0")) == Replayed(1, 3, complete=True)
    assert shop.values() == [b"0"]
    assert replay_dead_letters(shop.dead) == Replayed(3, 0, complete=True)
    assert shop.values() == [b"1", b"3", b"5"]
    assert replay_dead_letters(shop.dead) == Replayed(0, 0, complete=True)


def test_those_that_say_no_place_stay_and_hold_up_no_other(shop):
    produce(shop.kafka, shop.dead, [Raw(b"foreign", b"k")])
    shop.bury(*numbered(2))

    assert replay_dead_letters(shop.dead) == Replayed(2, 1, complete=True)
    assert shop.values() == [b"0", b"1"]


def test_a_replay_ends_where_the_topic_ended_when_it_began(shop):
    shop.bury(*numbered(2))
    late = numbered(3)

    def bury_more(_letter):
        if late:
            produce(shop.kafka, shop.dead, [late.pop()])
        return True

    assert replay_dead_letters(shop.dead, where=bury_more).count == 2


def test_a_note_that_is_full_ends_the_replay_and_says_so(shop, monkeypatch):
    monkeypatch.setattr(replay, "LONGEST_NOTE", 0)
    shop.bury(*numbered(150))

    done = replay_dead_letters(shop.dead, where=lambda letter: letter.value != b"0")

    assert done == Replayed(99, 1, complete=False)
    assert replay_dead_letters(shop.dead) == Replayed(51, 0, complete=True)
    assert len(shop.values()) == 150


# ---- gaps ------------------------------------------------------------------------------------


def test_transactions_leave_gaps_that_hold_up_nothing(shop, kafka):
    connect(bootstrap_servers=kafka)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": shop.dead})
    producer.init_transactions(PATIENCE)
    place = [("kafka_dlt-original-topic", shop.source.encode())]
    for number, end in enumerate([producer.commit_transaction, producer.abort_transaction] * 2):
        producer.begin_transaction()
        producer.produce(shop.dead, b"%d" % number, partition=0, headers=place)
        producer.flush(PATIENCE)
        end()

    assert [letter.value for letter in list_dead_letters(shop.dead)] == [b"0", b"2"]
    assert replay_dead_letters(shop.dead) == Replayed(2, 0, complete=True)
    assert shop.values() == [b"0", b"2"]
    assert replay_dead_letters(shop.dead) == Replayed(0, 0, complete=True)


def test_what_comes_behind_a_gap_at_the_end_is_not_taken_for_what_was_there(shop, kafka):
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": shop.dead})
    producer.init_transactions(PATIENCE)
    for value, end in ((b"0", producer.commit_transaction), (b"1", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(shop.dead, value, partition=0)
        producer.flush(PATIENCE)
        end()

    listing = list_dead_letters(shop.dead)
    produce(kafka, shop.dead, [Raw(b"late", b"k", 0)])

    assert [letter.value for letter in listing] == [b"0"]


def test_deleted_dead_letters_are_passed_over(shop):
    shop.bury(*numbered(10))
    replay_dead_letters(shop.dead, limit=2)
    ends = end_offsets(shop.kafka, shop.dead)
    (number,) = [number for number, end in ends.items() if end]
    cut = TopicPartition(shop.dead, number, 7)
    admin = admin_client(shop.kafka)
    for future in admin.delete_records([cut]).values():
        future.result(PATIENCE)

    assert [letter.offset for letter in list_dead_letters(shop.dead)] == [7, 8, 9]
    assert replay_dead_letters(shop.dead) == Replayed(3, 0, complete=True)


def test_a_topic_that_was_made_anew_is_replayed_from_its_beginning(shop):
    shop.bury(*numbered(3))
    with consumer_of(shop.kafka, f"{shop.dead}-replay") as consumer:
        consumer.commit(
            offsets=[TopicPartition(shop.dead, number, 100) for number in (0, 1)],
            asynchronous=False,
        )

    assert replay_dead_letters(shop.dead) == Replayed(3, 0, complete=True)


def test_an_empty_topic_is_nothing_to_do(shop):
    assert list(list_dead_letters(shop.dead)) == []
    assert replay_dead_letters(shop.dead) == Replayed(0, 0, complete=True)


# ---- what goes wrong ---------------------------------------------------------------------------


def test_what_was_not_committed_is_repeated_rather_than_lost(shop, monkeypatch):
    shop.bury(*numbered(3))

    class CrashError(Exception):
        pass

    def crash(_reader, _places):
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(reader.TopicReader, "commit", crash)
        with pytest.raises(CrashError):
            replay_dead_letters(shop.dead)

    assert shop.values() == [b"0", b"1", b"2"]
    assert replay_dead_letters(shop.dead).count == 3


def test_one_that_is_refused_comes_again_and_the_others_do_not(shop, new_topic):
    small = new_topic(1, {"max.message.bytes": "1000"})
    shop.bury(Raw(b"1", b"k", 0), Raw(b"x" * 2_000, b"k", 0), Raw(b"3", b"k", 0))

    with pytest.raises(ProducerError, match=f"{shop.dead}, partition ., offset 1: topic {small}"):
        replay_dead_letters(shop.dead, to=small)

    assert shop.values(small) == [b"1", b"3"]
    assert replay_dead_letters(shop.dead) == Replayed(1, 0, complete=True)
    assert shop.values() == [b"x" * 2_000]


def test_what_is_not_acknowledged_in_time_is_not_committed(shop, kafka_server, monkeypatch):
    shop.bury(*numbered(2))
    monkeypatch.setattr(replay, "SEND_TIMEOUT", 1.0)
    answers, commit = contextlib.ExitStack(), reader.TopicReader.commit

    def freeze(letter):
        if letter.value == b"1":
            answers.enter_context(kafka_server.frozen())
        return True

    def thaw_and_commit(reader, places):
        answers.close()
        commit(reader, places)

    monkeypatch.setattr(reader.TopicReader, "commit", thaw_and_commit)
    with answers, pytest.raises(ProducerError, match="in time"):
        replay_dead_letters(shop.dead, where=freeze)

    assert sum(shop.committed().values()) == 0
    assert replay_dead_letters(shop.dead).count == 2


def test_a_where_that_raises_ends_the_replay_with_what_it_did_committed(shop):
    shop.bury(*numbered(3))

    def where(letter):
        if letter.value == b"2":
            raise LookupError
        return True

    with pytest.raises(LookupError):
        replay_dead_letters(shop.dead, where=where)

    assert shop.values() == [b"0", b"1"]
    assert replay_dead_letters(shop.dead).count == 1


def test_a_group_that_has_members_is_an_error_that_names_it(shop):
    shop.bury(*numbered(2))
    group = f"{shop.dead}-replay"
    with consumer_of(shop.kafka, group) as member:
        member.subscribe([shop.dead])

        def joined():
            member.poll(0.05)
            return member.assignment()

        wait_until(joined, PATIENCE, "the member owns the partitions")
        began = time.monotonic()
        with pytest.raises(ConsumerError, match=group):
            replay_dead_letters(shop.dead)
        assert time.monotonic() - began < 10


def test_a_topic_that_does_not_exist_is_said_at_once(kafka, closed):
    connect(bootstrap_servers=kafka)

    with pytest.raises(TopicError, match=r"no-such\.DLT"):
        list_dead_letters("no-such.DLT")
    with pytest.raises(TopicError, match=r"no-such\.DLT"):
        replay_dead_letters("no-such.DLT")
    assert closed == [True, True]


def test_an_original_topic_that_does_not_exist_is_said_with_its_name(shop):
    headers = (("kafka_dlt-original-topic", b"deleted-orders"),)
    produce(shop.kafka, shop.dead, [Raw(b"v", b"k", 0, headers)])

    with pytest.raises(TopicError, match=r"offset 0: topic deleted-orders: .*to= put it"):
        replay_dead_letters(shop.dead)


@pytest.mark.parametrize("name", [b"", b"\xff\xff", b"not a topic!"])
def test_one_whose_original_topic_is_no_topic_can_be_left(shop, name):
    places = [(("kafka_dlt-original-topic", topic),) for topic in (name, shop.source.encode())]
    # In one partition, so that the first one is always looked at first.
    produce(shop.kafka, shop.dead, [Raw(b"v", b"k", 0, places[0]), Raw(b"0", b"k", 0, places[1])])

    if name:
        with pytest.raises(TopicError, match="where= can leave it"):
            replay_dead_letters(shop.dead)
    assert replay_dead_letters(shop.dead, where=wants(b"0")) == Replayed(1, 1, complete=True)
    assert shop.values() == [b"0"]


def test_one_that_is_too_large_for_the_producer_is_named_and_can_be_left(shop):
    place = (("kafka_dlt-original-topic", shop.source.encode()),)
    produce(shop.kafka, shop.dead, [Raw(b"x" * 900_000, b"k", 0, place), Raw(b"0", b"k", 0, place)])
    connect(producer_config={"message.max.bytes": 10_000})

    with pytest.raises(ProducerError, match=f"{shop.dead}, partition 0, offset 0: .*where="):
        replay_dead_letters(shop.dead)
    assert replay_dead_letters(shop.dead, where=wants(b"0")) == Replayed(1, 1, complete=True)


def test_a_topic_is_not_replayed_to_itself():
    with pytest.raises(ConfigurationError, match="itself"):
        replay_dead_letters("orders.DLT", to="orders.DLT")


def test_a_kafka_that_does_not_answer_is_said_in_time(monkeypatch):
    monkeypatch.setattr(reader, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(dead_letter, "ANSWER_TIMEOUT", 0.3)
    quiet = {"log_level": 0}
    address = f"127.0.0.1:{free_port()}"
    connect(bootstrap_servers=address, producer_config=quiet, consumer_config=quiet)

    with pytest.raises(ConsumerError, match=r"orders\.DLT"):
        list_dead_letters("orders.DLT")
    with pytest.raises(ConsumerError, match=r"orders\.DLT"):
        replay_dead_letters("orders.DLT")


def test_a_kafka_that_goes_quiet_while_it_is_read_is_said_in_time(shop, kafka_server, monkeypatch):
    shop.bury(*numbered(200))
    listing = list_dead_letters(shop.dead)
    next(listing)
    monkeypatch.setattr(reader, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(reader, "_take", lambda _record, _ends: False)  # nothing arrives

    with pytest.raises(ConsumerError, match=f"{shop.dead}, partitions"):
        list(listing)
