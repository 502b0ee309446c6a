"""Members come and go before the group has settled: joins and leaves at every odd moment."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict

import pytest

from flowodm.events import Outcome
from support.loops import PATIENCE, brisk
from support.members import PROTOCOLS, CommittedOffsets
from support.waiting import wait_until

PARTITIONS, TOTAL, GENERATIONS = 6, 4_000, 8
KINDS = ("sync", "threads", "async")


@pytest.fixture(scope="module")
def kafka(brisk_kafka: str) -> str:
    return brisk_kafka


class Floor:
    """Where all members of the process work: it knows who is at which partition."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: dict[int, Counter[int]] = defaultdict(Counter)
        self.seen: Counter[int] = Counter()
        self.last: dict[int, int] = {}
        self.mistakes: list[str] = []
        self.pace = 0.002

    def work(self, member: int, number: int) -> None:
        """Handle a record; its number tells the partition, and the key within it."""
        partition, key = number % PARTITIONS, number % (4 * PARTITIONS)
        with self._lock:
            self._at[partition][member] += 1
            if len(+self._at[partition]) > 1:
                self.mistakes.append(f"{number}: two members at partition {partition}")
            if number < self.last.get(key, -1):
                self.mistakes.append(f"{number} came after {self.last[key]}")
            self.last[key] = number
        time.sleep(self.pace)  # the work itself
        with self._lock:
            self._at[partition][member] -= 1
            self.seen[number] += 1


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_that_come_and_go_at_odd_moments_lose_repeat_and_mix_up_nothing(
    new_bench, protocol, strategy
):
    bench, floor = new_bench(partitions=PARTITIONS), Floor()
    bench.produce(
        range(TOTAL),
        partition=lambda n: n % PARTITIONS,
        key=lambda n: b"%d" % (n % (4 * PARTITIONS)),
    )
    options = {
        "settings": brisk(max_poll_records=50, extra_config=PROTOCOLS[protocol]),
        "commit_strategy": strategy,
        "commit_interval": 0.1,
    }
    members = []
    with contextlib.ExitStack() as stack, CommittedOffsets(bench) as committed:
        for number in range(GENERATIONS):
            kind = KINDS[number % len(KINDS)]
            handler = floor_of(floor, number)
            members.append(stack.enter_context(bench.run(kind, handler, **options)))
            if number == 0:
                members[0].joined(PARTITIONS)
                continue
            goal = len(floor.seen) + (5, 60, 200)[number % 3]
            wait_until(
                lambda goal=goal: len(floor.seen) >= min(goal, TOTAL), PATIENCE, "work goes on"
            )
            members[number - 1].loop.stop()
            if number % 4 == 3:  # for once it is seen to the end
                members[number - 1].end()
        floor.pace = 0.0
        wait_until(lambda: len(floor.seen) == TOTAL, PATIENCE, "all is handled")
        wait_until(lambda: committed.now() == bench.ends(), PATIENCE, "and committed")
        for member in members[:-1]:
            member.end()
        members[-1].stop()

        assert committed.went_back() == []
    assert floor.mistakes == []
    assert [n for n, times in floor.seen.items() if times > 1] == []
    for member in members:
        assert Outcome.LOST not in member.events.outcomes()
        assert "lost" not in member.events.rebalances()


def floor_of(floor: Floor, member: int):
    return lambda message: floor.work(member, message.n)
