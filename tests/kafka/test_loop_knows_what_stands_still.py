"""LoopStatus.behind: what stands still although the brokers have more, and nothing else."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Producer, TopicPartition

from flowodm.consumer.engine import engine
from flowodm.consumer.kafka import stalls as standing
from support.loops import PATIENCE, number
from support.waiting import wait_until


class Answers(list):
    def __init__(self):
        super().__init__()
        self.then = []


@pytest.fixture
def answers(monkeypatch):
    """Each answer of the brokers: which partitions stood still, and which of them are behind.

    What is put into ``then`` is called with the consumer by the poller's own thread: the polls of
    that thread leave no other one a chance.
    """
    found = Answers()
    ask = standing.StallDetector._ask

    def spy(self, idle):
        while found.then:
            found.then.pop(0)(self._consumer)
        behind = ask(self, idle)
        found.append((set(idle), dict(behind)))
        return behind

    monkeypatch.setattr(standing.StallDetector, "_ask", spy)
    monkeypatch.setattr(standing, "ASK_EVERY", 0.1)
    monkeypatch.setattr(engine, "SAMPLE_INTERVAL", 0.05)
    return found


def until_asked(answers, times=3):
    enough = len(answers) + times
    wait_until(lambda: len(answers) >= enough, PATIENCE, "the brokers have answered again")


def test_a_partition_that_the_client_fetches_no_more_is_behind_and_the_others_are_not(
    new_bench, answers
):
    bench = new_bench(partitions=3)
    bench.produce(range(30), partition=lambda n: n % 3)
    with bench.run("sync", lambda _: None) as running:
        wait_until(lambda: running.status().processed == 30, PATIENCE, "all is handled")
        until_asked(answers)
        assert running.status().behind == ()

        tp = (bench.topic, 1)
        answers.then.append(lambda consumer: consumer.pause([TopicPartition(*tp)]))
        wait_until(lambda: not answers.then, PATIENCE, "the client fetches it no more")
        bench.produce(range(30), partition=lambda n: n % 3)

        wait_until(lambda: running.status().behind == ((tp, 10),), PATIENCE, "it is behind")
        answers.then.append(lambda consumer: consumer.resume([TopicPartition(*tp)]))
        wait_until(lambda: running.status().behind == (), PATIENCE, "it moves again")
        running.stop()


def test_a_record_in_a_handler_or_in_its_wait_for_a_retry_is_no_standstill(new_bench, answers):
    bench, release = new_bench(partitions=3), threading.Event()
    bench.produce(range(6), partition=lambda n: n % 2)

    def handle(message):
        if message.n == 1:
            raise RuntimeError("not yet")
        release.wait(PATIENCE)

    options = {"max_concurrent": 2, "max_retries": 5, "retry_delay": 60.0, "ordering": "partition"}
    with bench.run("sync", handle, **options) as running:
        wait_until(lambda: running.status().waiting == 1, PATIENCE, "one waits for its retry")
        wait_until(lambda: running.status().in_flight == 1, PATIENCE, "another one is handled")
        until_asked(answers)
        assert answers[-1] == ({(bench.topic, 2)}, {}), "the empty one stands still, and may"
        release.set()


def test_what_nobody_may_read_yet_is_no_standstill(new_bench, answers):
    bench = new_bench(partitions=1)
    bench.produce(range(10))
    producer = Producer({"bootstrap.servers": bench.kafka, "transactional.id": bench.group})
    producer.init_transactions(30)
    with bench.run("sync", lambda _: None) as running:
        wait_until(lambda: running.status().processed == 10, PATIENCE, "all is handled")
        producer.begin_transaction()
        producer.produce(bench.topic, number(1))
        producer.flush(30)

        wait_until(lambda: running.status().lag, PATIENCE, "the client sees that there is more")
        until_asked(answers)
        assert running.status().behind == ()

        producer.commit_transaction(30)
        wait_until(lambda: running.status().processed == 11, PATIENCE, "now it is handled")
        running.stop()
