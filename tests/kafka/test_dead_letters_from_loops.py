"""A loop with a dead-letter topic: what it gives up is there before it is committed."""

from __future__ import annotations

import contextlib
import logging
import struct
import threading
import time

import pytest
from prometheus_client import CollectorRegistry

from flowodm import (
    BatchError,
    ConfigurationError,
    DeserializationError,
    ProducerError,
    RecordError,
    replay_dead_letters,
)
from flowodm.consumer.dead_letters import topic as dead_letter
from flowodm.consumer.dead_letters.topic import DeadLetterTopic
from flowodm.events import DeadLettered, Failed, Outcome, Stage
from flowodm.metrics import PrometheusObserver
from support.brokers.records import Raw, committed_offsets, end_offsets, read_all
from support.loops import BOTH, KINDS, PATIENCE, POISON, Gate, number
from support.waiting import wait_until

STRATEGIES = ("after_processing", "before_processing")


class FlakyError(Exception):
    """What the handlers here raise."""


class Yard:
    """A bench, and the dead-letter topic of its loops."""

    def __init__(self, bench, topic):
        self.bench = bench
        self.topic = topic

    def run(self, kind, handler, **options):
        options.setdefault("ordering", "partition")
        return self.bench.run(kind, handler, dead_letter_topic=self.topic, **options)

    def letters(self):
        return sorted(read_all(self.bench.kafka, self.topic), key=lambda letter: letter.value())

    def count(self):
        return sum(end_offsets(self.bench.kafka, self.topic).values())

    def is_committed(self, offset):
        return lambda: self.bench.committed() == {0: offset}


@pytest.fixture
def yard(new_bench, new_topic):
    return Yard(new_bench(), new_topic(2))


def fails_at(*numbers, seen=None):
    def handle(message) -> None:
        if message.n in numbers:
            raise FlakyError("no such order")
        if seen is not None:
            seen.append(message.n)

    return handle


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_what_fails_for_good_is_there_with_its_bytes_key_and_headers(yard, kind, strategy):
    seen, own = [], (("a", b"1"), ("b", None), ("a", b"\xff"))
    yard.bench.produce(range(2))
    yard.bench.produce_raw(Raw(number(2), b"k2", 0, own), Raw(POISON, b"k3", 0, own))
    yard.bench.produce(range(4, 6))

    options = {"commit_strategy": strategy, "max_retries": 2, "retry_delay": 0.01}
    with yard.run(kind, fails_at(2, seen=seen), **options) as running:
        wait_until(lambda: len(seen) == 4, PATIENCE, "the others are handled")
        running.stop()

    assert seen == [0, 1, 4, 5]
    failed, poison = yard.letters()
    for letter, value, key in ((failed, number(2), b"k2"), (poison, POISON, b"k3")):
        assert (letter.value(), letter.key()) == (value, key)
        assert tuple(letter.headers()[:3]) == own
    said = [dict(letter.headers()[3:]) for letter in (failed, poison)]
    assert [headers["kafka_dlt-original-offset"] for headers in said] == [
        struct.pack(">q", 2),
        struct.pack(">q", 3),
    ]
    assert {headers["kafka_dlt-original-topic"] for headers in said} == {yard.bench.topic.encode()}
    groups = {headers["kafka_dlt-original-consumer-group"] for headers in said}
    assert groups == {yard.bench.group.encode()}
    assert said[0]["kafka_dlt-exception-fqcn"].endswith(b"FlakyError")
    assert b"in handle" in said[0]["kafka_dlt-exception-stacktrace"]
    assert said[1]["kafka_dlt-exception-fqcn"] == (
        f"{DeserializationError.__module__}.DeserializationError".encode()
    )
    assert yard.bench.committed() == {0: 6}
    assert running.events.outcomes() == {Outcome.PROCESSED: 4, Outcome.DEAD_LETTERED: 2}


@pytest.mark.parametrize("kind", BOTH)
def test_retries_come_first_and_a_poison_record_has_none(yard, kind):
    attempts = []
    yard.bench.produce([0])
    yard.bench.produce_raw(Raw(POISON, None, 0))

    def handle(message) -> None:
        attempts.append((message.n, yard.count()))
        raise FlakyError

    options = {"max_retries": 2, "retry_delay": 0.01}
    with yard.run(kind, handle, **options) as running:
        wait_until(yard.is_committed(2), PATIENCE, "both are settled")
        running.stop()

    assert attempts == [(0, 0)] * 3, "no copy is there before the last attempt"
    consequences = [(e.stage, e.consequence) for e in running.events.of(Failed)]
    assert consequences == [
        (Stage.HANDLER, "retry"),
        (Stage.HANDLER, "retry"),
        (Stage.HANDLER, "dead_letter"),
        (Stage.DESERIALIZE, "dead_letter"),
    ]


@pytest.mark.parametrize("kind", BOTH)
def test_nothing_is_committed_before_the_broker_has_the_dead_letter(yard, kind, monkeypatch):
    send, seen = DeadLetterTopic.send, []
    yard.bench.produce(range(5))

    with Gate() as gate:

        def send_later(self, record, error):
            gate.wait()
            send(self, record, error)

        monkeypatch.setattr(DeadLetterTopic, "send", send_later)
        options = {"commit_interval": 0.05}
        with yard.run(kind, fails_at(2, seen=seen), **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "the dead letter is under way")
            wait_until(yard.is_committed(2), PATIENCE, "what was before it is committed")
            assert seen == [0, 1]
            gate.open()
            wait_until(yard.is_committed(5), PATIENCE, "all is committed")
            assert yard.count() == 1
            running.stop()


@pytest.mark.parametrize("kind", BOTH)
def test_a_dead_letter_under_way_holds_up_no_other_partition(
    new_bench, new_topic, kind, monkeypatch
):
    yard, seen = Yard(new_bench(2), new_topic(1)), []
    yard.bench.produce([0], partition=lambda _: 0)
    yard.bench.produce(range(1, 100), partition=lambda _: 1)

    with Gate() as gate:
        send = DeadLetterTopic.send

        def send_later(self, record, error):
            gate.wait()
            send(self, record, error)

        monkeypatch.setattr(DeadLetterTopic, "send", send_later)
        kind = "threads" if kind == "sync" else kind
        with yard.run(kind, fails_at(0, seen=seen)) as running:
            wait_until(lambda: gate.waiting == 1, PATIENCE, "the dead letter is under way")
            yard.bench.produce([100], partition=lambda _: 1)
            wait_until(lambda: len(seen) == 100, PATIENCE, "the other partition is through")
            gate.open()
            running.stop()
    assert yard.bench.committed() == {0: 1, 1: 100}


def test_a_broker_that_does_not_acknowledge_ends_the_loop_at_the_record(
    yard, kafka_server, monkeypatch
):
    """Until its answer is there nobody has the record, so it comes again."""
    yard.bench.produce(range(5))
    yard.bench.produce([9], partition=lambda _: 0)
    monkeypatch.setattr(dead_letter, "SEND_TIMEOUT", 1.0)
    frozen = kafka_server.frozen()

    def handle(message) -> None:
        if message.n == 2:
            wait_until(yard.is_committed(2), PATIENCE, "what was before it is committed")
            frozen.__enter__()
            raise FlakyError("no such order")

    def thaw(event) -> None:
        if isinstance(event, Failed) and event.stage is Stage.DEAD_LETTER:
            frozen.__exit__(None, None, None)

    options = {"commit_interval": 0.05, "observers": [thaw]}
    running = yard.run("sync", handle, **options)
    with running, pytest.raises(RecordError, match="in time") as caught:
        running.end()

    assert caught.value.offset == 2
    assert isinstance(caught.value.__cause__, ProducerError)
    assert any("no such order" in note for note in caught.value.__cause__.__notes__)
    assert yard.bench.committed() == {0: 2}


@pytest.mark.parametrize("kind", BOTH)
def test_a_broker_that_is_silent_for_a_moment_ends_nothing(yard, kafka_server, kind):
    yard.bench.produce(range(5))
    frozen = contextlib.ExitStack()

    def handle(message) -> None:
        if message.n == 2:
            wait_until(lambda: yard.bench.committed() == {0: 2}, PATIENCE, "2 are committed")
            frozen.enter_context(kafka_server.frozen())
            raise FlakyError

    with frozen, yard.run(kind, handle, commit_interval=0.05) as running:
        wait_until(lambda: running.events.of(Failed), PATIENCE, "the handler has failed")
        assert running.events.of(DeadLettered) == []
        frozen.close()
        wait_until(yard.is_committed(5), PATIENCE, "all is settled")
        running.stop()

    assert yard.count() == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_a_dead_letter_that_is_refused_ends_the_loop_and_the_next_run_begins_with_it(
    yard, new_topic, kind, strategy
):
    good, again = yard.topic, []
    yard.topic = new_topic(1, {"max.message.bytes": "100"})
    yard.bench.produce(range(5))

    options = {"commit_strategy": strategy, "commit_ahead": 0}
    running = yard.run(kind, fails_at(2), **options)
    with running, pytest.raises(RecordError, match=r"max\.message\.bytes") as caught:
        running.end()
    assert caught.value.offset == 2
    assert yard.count() == 0

    if strategy == "after_processing":
        assert yard.bench.committed() == {0: 2}
        yard.topic = good
        with yard.run(kind, fails_at(2, seen=again)) as running:
            wait_until(yard.is_committed(5), PATIENCE, "the rest is settled")
            running.stop()
        assert again == [3, 4]
        assert [letter.value() for letter in yard.letters()] == [number(2)]


@pytest.mark.parametrize("kind", BOTH)
def test_the_error_handler_is_called_when_the_dead_letter_is_there(yard, kind):
    calls = []
    yard.bench.produce(range(3))

    def handle_error(error, raw, message) -> None:
        calls.append((type(error), raw.offset(), message.n, yard.count()))

    with yard.run(kind, fails_at(1), error_handler=handle_error) as running:
        wait_until(yard.is_committed(3), PATIENCE, "all is settled")
        running.stop()

    assert calls == [(FlakyError, 1, 1, 1)]
    assert running.events.outcomes() == {Outcome.PROCESSED: 2, Outcome.DEAD_LETTERED: 1}


@pytest.mark.parametrize("kind", BOTH)
def test_an_error_handler_that_raises_ends_the_loop_although_the_dead_letter_is_there(yard, kind):
    yard.bench.produce(range(3))

    def handle_error(_error, _raw, _message) -> None:
        raise OSError("the table of errors is gone")

    running = yard.run(kind, fails_at(1), error_handler=handle_error)
    with running, pytest.raises(RecordError, match="table of errors"):
        running.end()

    assert yard.count() == 1
    assert yard.bench.committed() == {0: 1}


# ---- the limit -------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "most"), [(0.5, 50), (0.03, 3), (0, 0)])
@pytest.mark.parametrize("kind", BOTH)
def test_a_broken_handler_ends_the_loop_instead_of_emptying_the_topic(yard, kind, limit, most):
    yard.bench.produce(range(300))

    running = yard.run(kind, fails_at(*range(300)), dead_letter_limit=limit)
    with running, pytest.raises(RecordError) as caught:
        running.end()

    assert yard.count() == most
    assert caught.value.offset == most
    assert any("dead letters" in note for note in caught.value.__cause__.__notes__)
    assert yard.bench.committed().get(0, 0) == most


@pytest.mark.parametrize("kind", ["threads", "async"])
def test_the_limit_holds_for_concurrent_handlers_too(yard, kind):
    yard.bench.produce(range(300))

    options = {"ordering": "unordered", "max_concurrent": 16, "dead_letter_limit": 0.2}
    running = yard.run(kind, fails_at(*range(300)), **options)
    with running, pytest.raises(RecordError):
        running.end()

    assert yard.count() <= 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_third_of_bad_records_in_one_long_run_is_below_the_limit_of_a_half(yard, kind):
    """What is settled within a run counts, though the engine books it later."""
    yard.bench.produce(range(600))

    with yard.run(kind, fails_at(*range(0, 600, 3))) as running:
        wait_until(yard.is_committed(600), PATIENCE, "all is settled")
        running.stop()

    assert yard.count() == 200
    assert running.events.outcomes() == {Outcome.PROCESSED: 400, Outcome.DEAD_LETTERED: 200}


@pytest.mark.parametrize("kind", BOTH)
def test_a_limit_of_one_is_none(yard, kind):
    yard.bench.produce(range(150))

    with yard.run(kind, fails_at(*range(150)), dead_letter_limit=1.0) as running:
        wait_until(yard.is_committed(150), PATIENCE, "all is settled")
        running.stop()

    assert yard.count() == 150


# ---- stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_while_a_dead_letter_is_under_way_waits_for_it(yard, kind, strategy, monkeypatch):
    send, stopped = DeadLetterTopic.send, threading.Event()
    yard.bench.produce([0])

    def send_later(self, record, error):
        assert stopped.wait(PATIENCE)
        send(self, record, error)

    monkeypatch.setattr(DeadLetterTopic, "send", send_later)
    with yard.run(kind, fails_at(0), commit_strategy=strategy) as running:
        wait_until(lambda: running.events.of(Failed), PATIENCE, "the handler has failed")
        running.loop.stop()
        stopped.set()
        running.end()

    assert yard.count() == 1
    assert yard.bench.committed() == {0: 1}
    assert running.events.outcomes() == {Outcome.DEAD_LETTERED: 1}


@pytest.mark.parametrize("kind", BOTH)
def test_what_a_hard_stop_leaves_under_way_comes_again(yard, kind, monkeypatch):
    send = DeadLetterTopic.send
    yard.bench.produce([0])

    with Gate() as gate:

        def send_later(self, record, error):
            gate.wait()
            send(self, record, error)

        with monkeypatch.context() as patch:
            patch.setattr(DeadLetterTopic, "send", send_later)
            with yard.run("threads" if kind == "sync" else kind, fails_at(0)) as running:
                wait_until(lambda: gate.waiting, PATIENCE, "the dead letter is under way")
                running.loop.stop(now=True)
                running.end()
            assert yard.bench.committed().get(0, 0) == 0

    with yard.run(kind, fails_at(0)) as running:
        wait_until(yard.is_committed(1), PATIENCE, "the next run has settled it")
        running.stop()
    assert yard.count() >= 1


@pytest.mark.parametrize("now", [False, True], ids=["drain deadline", "now"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_stop_waits_longer_for_a_silent_broker_than_its_deadline(yard, kind, now, monkeypatch):
    """The dead letter itself would have a minute."""
    yard.bench.produce(range(3))

    with monkeypatch.context() as patch:
        patch.setattr(dead_letter, "enqueue", lambda *_: None)  # nothing is sent, nobody answers
        with yard.run(kind, fails_at(1), drain_timeout=30.0 if now else 0.5) as running:
            wait_until(lambda: running.events.of(Failed), PATIENCE, "the handler has failed")
            running.loop.stop(now=now)
            running.end(10)

    assert yard.bench.committed() == {0: 1}
    assert [event.consequence for event in running.events.of(Failed)] == ["dead_letter"]
    with yard.run(kind, fails_at(1)) as running:
        wait_until(yard.is_committed(3), PATIENCE, "the next run has settled it")
        running.stop()
    assert yard.count() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_come_and_go_lose_no_dead_letter(new_bench, new_topic, kind):
    yard, seen = Yard(new_bench(4), new_topic(2)), []
    yard.bench.produce(range(2_000), partition=lambda n: n % 4)
    bad = range(0, 2_000, 20)

    def handle(message) -> None:
        time.sleep(0.001)  # work, so that there is something under way
        if message.n in bad:
            raise FlakyError
        seen.append(message.n)

    with yard.run(kind, handle) as first:
        wait_until(lambda: len(seen) > 100, PATIENCE, "the first one works")
        with yard.run(kind, handle) as second:
            second.joined()
            first.stop()
            ends = dict.fromkeys(range(4), 500)
            wait_until(lambda: yard.bench.committed() == ends, PATIENCE, "all is settled")
            second.stop()

    assert set(seen) == set(range(2_000)) - set(bad)
    assert {letter.value() for letter in yard.letters()} == {number(n) for n in bad}


# ---- around them -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
def test_replayed_dead_letters_are_handled_by_the_mended_handler(yard, kind):
    seen = []
    yard.bench.produce(range(10))
    with yard.run(kind, fails_at(3, 7)) as running:
        wait_until(yard.is_committed(10), PATIENCE, "all is settled")
        running.stop()

    assert replay_dead_letters(yard.topic).count == 2

    def handle(message, context) -> None:
        seen.append((message.n, context.header("flowodm_replays")))

    async def handle_async(message, context) -> None:
        handle(message, context)

    with yard.run(kind, handle_async if kind == "async" else handle) as running:
        wait_until(yard.is_committed(12), PATIENCE, "the replayed ones are settled")
        running.stop()
    assert sorted(seen) == [(3, b"1"), (7, b"1")]


@pytest.mark.parametrize("kind", BOTH)
def test_a_dead_letter_topic_that_does_not_exist_ends_the_start(yard, kind):
    yard.bench.produce([0])
    yard.topic = "no-such-topic.DLT"

    running = yard.run(kind, fails_at(0))
    with running, pytest.raises(ConfigurationError, match=r"no-such-topic\.DLT"):
        running.end()
    assert yard.bench.committed() == {}


@pytest.mark.parametrize("kind", BOTH)
def test_a_tombstone_that_its_handler_refuses_is_a_dead_letter_without_a_value(yard, kind):
    yard.bench.produce_raw(Raw(None, b"k", 0))

    def refuse(_context) -> None:
        raise FlakyError

    with yard.run(kind, fails_at(), tombstone_handler=refuse) as running:
        wait_until(yard.is_committed(1), PATIENCE, "it is settled")
        running.stop()

    (letter,) = read_all(yard.bench.kafka, yard.topic)
    assert (letter.key(), letter.value()) == (b"k", None)


@pytest.mark.parametrize("kind", BOTH)
def test_of_a_batch_the_failed_record_alone_is_a_dead_letter(yard, kind):
    seen = []
    yard.bench.produce(range(10))

    def handle(messages) -> None:
        for index, message in enumerate(messages):
            if message.n == 4:
                raise BatchError(index) from FlakyError("no such order")
            seen.append(message.n)

    with yard.run(kind, handle, batch_size=10, batch_timeout=0.1) as running:
        wait_until(yard.is_committed(10), PATIENCE, "all is settled")
        running.stop()

    assert seen == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    (letter,) = yard.letters()
    assert letter.value() == number(4)
    assert dict(letter.headers())["kafka_dlt-exception-message"] == b"no such order"


def test_dead_letters_are_counted_told_and_logged(yard, caplog):
    metrics = CollectorRegistry()
    observer = PrometheusObserver(metrics, consumer="orders")
    yard.bench.produce(range(4))

    caplog.set_level(logging.INFO, "flowodm.consumer")
    with yard.run("sync", fails_at(1, 2), observers=[observer]) as running:
        wait_until(yard.is_committed(4), PATIENCE, "all is settled")
        running.stop()

    labels = {"consumer": "orders", "slot": "0"}
    assert metrics.get_sample_value("flowodm_dead_letters_total", labels) == 2
    dead = {**labels, "outcome": "dead_lettered"}
    assert metrics.get_sample_value("flowodm_messages_total", dead) == 2
    assert running.events.of(DeadLettered) == [
        DeadLettered(yard.bench.topic, 0, offset, yard.topic) for offset in (1, 2)
    ]
    lines = [record.getMessage() for record in caplog.records]
    assert any("record failed" in line and "next=dead_letter" in line for line in lines), lines
    assert any("loop ended" in line and "dead_lettered=2" in line for line in lines), lines


def test_replays_and_loops_do_not_share_a_group(yard):
    yard.bench.produce(range(3))
    with yard.run("sync", fails_at(0)) as running:
        wait_until(yard.is_committed(3), PATIENCE, "all is settled")
        replay_dead_letters(yard.topic)
        wait_until(lambda: yard.count() == 2, PATIENCE, "it failed again")
        running.stop()

    assert yard.bench.committed() == {0: 4}
    assert sum(committed_offsets(yard.bench.kafka, f"{yard.topic}-replay", yard.topic).values())
