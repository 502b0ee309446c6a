"""Connections to the brokers break while offsets are committed and partitions move."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from flowodm.consumer.engine.commit import CommitSchedule
from flowodm.consumer.kafka.committer import Committer
from flowodm.events import Committed
from flowodm.testing import KafkaProxy
from support.brokers.clients import IMPATIENT
from support.brokers.kafka_server import KafkaServer
from support.loops import BOTH, PATIENCE, brisk
from support.members import PROTOCOLS
from support.waiting import wait_until


@pytest.fixture(scope="module")
def proxy(kafka_parts):
    intervals = ("group.consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms")
    with (
        KafkaServer(dict.fromkeys(intervals, "200")) as server,
        KafkaProxy(server.bootstrap_servers) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module")
def kafka(proxy) -> str:
    return proxy.bootstrap_servers


def member(protocol: str):
    return brisk(max_poll_records=100, extra_config={**PROTOCOLS[protocol], **IMPATIENT})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_connection_that_breaks_with_the_commit_at_a_revoke_repeats_nothing(
    new_bench, proxy, monkeypatch, protocol
):
    """The next owner begins where the revoked member ended, though its first request was lost."""
    cuts: list[int] = []
    commit = Committer.commit_in_callback

    def commit_without_connection(self, offsets, timeout):
        if offsets:
            cuts.append(proxy.cut())
        return commit(self, offsets, timeout)

    monkeypatch.setattr(Committer, "commit_in_callback", commit_without_connection)
    bench, seen, lock = new_bench(partitions=4), Counter(), threading.Lock()
    total, begun, joined = 20_000, set(), threading.Event()
    bench.produce(range(total), partition=lambda n: n % 4)
    # Nothing is committed before the second has joined, so that there is something left for then.
    due = CommitSchedule.due

    def due_once_joined(self, now, *, idle) -> bool:
        return joined.is_set() and due(self, now, idle=idle)

    monkeypatch.setattr(CommitSchedule, "due", due_once_joined)

    def handle(message) -> None:
        begun.add(message.n % 4)
        if len(begun) == 4 and not joined.is_set():
            time.sleep(0.001)  # work, until the second has joined
        with lock:
            seen[message.n] += 1

    options = {"settings": member(protocol), "commit_interval": 60.0}
    with bench.run("sync", handle, **options) as first:
        wait_until(lambda: len(begun) == 4, PATIENCE, "the first is at work on all partitions")
        with bench.run("sync", handle, **options) as second:
            second.joined(2)
            joined.set()
            wait_until(lambda: len(seen) == total, PATIENCE, "all is handled")
            second.stop()
        first.stop()

    assert cuts
    assert min(cuts) > 0
    assert [n for n, times in seen.items() if times > 1] == []
    assert bench.committed() == bench.ends()


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("kind", BOTH)
def test_connections_that_break_all_the_time_lose_and_repeat_nothing_nor_move_an_offset_back(
    new_bench, proxy, kind, strategy
):
    bench, seen, lock = new_bench(partitions=4), Counter(), threading.Lock()
    bench.produce(range(1_500), partition=lambda n: n % 4, key=lambda n: b"%d" % (n % 40))

    def handle(message) -> None:
        time.sleep(0.001)  # work
        with lock:
            seen[message.n] += 1

    # All of it in one fetch: back-pressure would pause partitions, and what is resumed waits for
    # the answer to the fetch under way, which each cut takes with it.
    settings = brisk(max_poll_records=1_500, extra_config={**PROTOCOLS["cooperative"], **IMPATIENT})
    options = {"settings": settings, "commit_strategy": strategy}
    with bench.run(kind, handle, **options, commit_interval=0.05) as running:
        running.joined(4)
        with proxy.cut_every(0.15):
            wait_until(lambda: len(seen) == 1_500, PATIENCE, "all is handled")
        wait_until(lambda: bench.committed() == bench.ends(), PATIENCE, "and committed")
        running.stop()

    assert max(seen.values()) == 1
    furthest: Counter[tuple[str, int]] = Counter()
    for event in running.events.of(Committed):
        for tp, offset in event.offsets.items():
            assert offset >= furthest[tp], "requests go forward"
            furthest[tp] = offset
