"""commit_strategy="after_processing": nothing is committed before it is settled."""

from __future__ import annotations

import random
import threading
import time

import pytest
from confluent_kafka import Consumer

from flowodm.consumer.kafka import poller
from flowodm.events import Committed
from support.loops import KINDS, PATIENCE, Gate
from support.waiting import wait_until

CONCURRENT = ("threads", "async")


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_run_commits_up_to_the_end_and_handles_each_record_once(new_bench, kind):
    bench, seen = new_bench(partitions=4), []
    bench.produce(range(4_000), partition=lambda n: n % 4, key=lambda n: b"%d" % (n % 50))

    with bench.run(kind, lambda message: seen.append(message.n)) as running:
        wait_until(lambda: len(seen) == 4_000, PATIENCE, "all 4,000 records are handled")
        running.stop()

    assert sorted(seen) == list(range(4_000))
    assert bench.committed() == bench.ends() == dict.fromkeys(range(4), 1_000)
    assert running.events.commit_errors() == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_loop_has_committed_before_it_stops(new_bench, kind):
    bench = new_bench()
    bench.produce(range(100))

    with bench.run(kind, lambda _: None, commit_interval=3_600.0):
        wait_until(lambda: bench.committed() == {0: 100}, PATIENCE, "all is committed")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_commits_move_inside_one_long_run_of_records(new_bench, kind):
    bench, release = new_bench(), threading.Event()
    bench.produce(range(400))

    def slow(_message) -> None:
        release.wait(0.01)

    with bench.run(kind, slow, ordering="partition", commit_interval=0.2) as running:

        def moves() -> bool:
            return len(running.events.of(Committed)) >= 4

        wait_until(moves, PATIENCE, "four commits in 4 s of work")
        committed = bench.committed()[0]
        release.set()
        running.stop()

    offsets = [event.offsets[bench.topic, 0] for event in running.events.of(Committed)]
    assert offsets == sorted(set(offsets)), "every commit moves forward"
    assert 0 < committed < 400


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_backlog_is_committed_once_an_interval_and_not_once_a_record(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce(range(20_000))

    with bench.run(kind, lambda m: seen.append(m.n), ordering="partition") as running:
        wait_until(lambda: len(seen) == 20_000, PATIENCE, "all is handled")
        running.stop()

    assert len(running.events.of(Committed)) < 20


@pytest.mark.parametrize("kind", CONCURRENT)
@pytest.mark.parametrize("ordering", ["key", "unordered"])
def test_a_committed_offset_never_passes_a_record_that_is_not_settled(new_bench, kind, ordering):
    """Invariant 1: handlers end in any order, and another client looks at the offsets."""
    bench, settled, lock = new_bench(partitions=2), set(), threading.Lock()
    bench.produce(range(1_000), partition=lambda n: n % 2, key=lambda n: b"%d" % (n % 20))
    chance = random.Random(1)

    def handle(message) -> None:
        time.sleep(chance.random() * 0.02)  # work of any length
        with lock:
            settled.add(message.n)

    looks = []

    def look() -> bool:
        committed = bench.committed()  # first: what is settled later must not excuse it
        with lock:
            now_settled = set(settled)
        for partition, offset in committed.items():
            passed = set(range(partition, 2 * offset + partition, 2))
            assert not passed - now_settled, f"committed {offset} in partition {partition}"
        looks.append(committed)
        return len(now_settled) == 1_000

    options = {"ordering": ordering, "max_concurrent": 8, "commit_interval": 0.05}
    with bench.run(kind, handle, **options) as running:
        wait_until(look, PATIENCE, "all is handled")
        running.stop()

    assert len({tuple(sorted(committed.items())) for committed in looks}) > 5
    assert bench.committed() == bench.ends()


@pytest.mark.parametrize("kind", CONCURRENT)
def test_one_record_that_is_not_done_holds_its_partition_and_no_other(new_bench, kind):
    bench, seen = new_bench(partitions=2), set()
    bench.produce(range(400), partition=lambda n: n % 2)

    with Gate() as gate:

        def handle(message) -> None:
            if message.n == 20:  # offset 10 of partition 0
                gate.wait()
            seen.add(message.n)

        options = {"ordering": "unordered", "commit_interval": 0.05}
        with bench.run(kind, handle, **options) as running:
            wait_until(lambda: len(seen) == 399, PATIENCE, "all but one are handled")
            wait_until(lambda: bench.committed().get(1) == 200, PATIENCE, "partition 1 is done")
            assert bench.committed() == {0: 10, 1: 200}

            gate.open()
            wait_until(lambda: bench.committed() == {0: 200, 1: 200}, PATIENCE, "all is committed")
            running.stop()


class Watched(Consumer):
    """Counts the commits that have no answer yet; only asynchronous ones call on_commit."""

    def __init__(self, config) -> None:
        self.unanswered = self.most = self.sent = 0
        answered = config["on_commit"]

        def on_commit(error, partitions) -> None:
            self.unanswered -= 1
            answered(error, partitions)

        super().__init__({**config, "on_commit": on_commit})

    def commit(self, *args, **kwargs):
        self.sent += 1
        self.unanswered += 1
        self.most = max(self.most, self.unanswered)
        answer = super().commit(*args, **kwargs)
        self.unanswered -= not kwargs["asynchronous"]
        return answer


def test_no_commit_is_sent_while_another_is_unanswered(new_bench, monkeypatch):
    bench, made, seen = new_bench(partitions=4), [], []
    bench.produce(range(4_000), partition=lambda n: n % 4)

    def watched(config):
        made.append(Watched(config))
        return made[-1]

    monkeypatch.setattr(poller, "Consumer", watched)

    def handle(message) -> None:
        time.sleep(0.0003)  # work, so that many commits fall due
        seen.append(message.n)

    with bench.run("sync", handle, commit_interval=0.000_1) as running:
        wait_until(lambda: len(seen) == 4_000, PATIENCE, "all is handled")
        running.stop()

    assert made[0].sent > 10
    assert made[0].most == 1
    assert bench.committed() == bench.ends()
