"""stop() before, in, at the end of and after a retry's wait: the record is lost by nobody."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from flowodm.events import Failed, Outcome
from support.loops import BOTH, PATIENCE
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.loops import Running

RECORDS = 10
#: The record that fails twice before it works.
FLAKY = 5


class Flaky:
    """A handler that fails twice at one record, and stops the loop at a chosen moment.

    Attributes:
        attempts: The number of each attempt, in order.
        done: The numbers that were handled.
    """

    def __init__(self, moment: str, *, fails: int = 2) -> None:
        self.attempts: list[int] = []
        self.done: list[int] = []
        self.running: Running
        self._moment = moment
        self._fails = fails

    def handle(self, message) -> None:
        self.attempts.append(message.n)
        attempt = self.attempts.count(FLAKY) if message.n == FLAKY else 0
        self._stop_at(f"attempt {attempt}")
        if 0 < attempt <= self._fails:
            raise ValueError(f"attempt {attempt}")
        self.done.append(message.n)

    def __call__(self, event: object) -> None:
        """The same for what an observer sees."""
        if isinstance(event, Failed):
            self._stop_at(f"failure {event.failures} is told")

    def stop_in_the_wait(self) -> None:
        if self._moment == "wait 1":
            wait_until(lambda: self.running.events.of(Failed), PATIENCE, "it failed once")
            self.running.loop.stop()

    def _stop_at(self, moment: str) -> None:
        if moment == self._moment:
            self.running.loop.stop()


MOMENTS = pytest.mark.parametrize(
    "moment",
    ["attempt 1", "failure 1 is told", "wait 1", "attempt 2", "failure 2 is told", "attempt 3"],
)


@MOMENTS
@pytest.mark.parametrize("kind", BOTH)
def test_at_least_once_the_record_is_either_done_or_left_to_the_next_owner(new_bench, kind, moment):
    """The last commit ends right before or right behind it, never beyond what was handled."""
    bench, flaky, again = new_bench(), Flaky(moment), []
    bench.produce(range(RECORDS))
    # A stop is seen within 0.1 s; later attempts than that must not start.
    delay = 0.4 if moment in {"attempt 2", "failure 2 is told", "attempt 3"} else 3_600.0
    options = {"max_retries": 3, "retry_delay": delay, "observers": [flaky]}
    flaky.running = bench.run(kind, flaky.handle, ordering="partition", **options)
    with flaky.running:
        flaky.stop_in_the_wait()
        flaky.running.end(10)

    attempts = {"attempt 2": 2, "failure 2 is told": 2, "attempt 3": 3}.get(moment, 1)
    assert flaky.attempts.count(FLAKY) == attempts, "no attempt starts after the stop"
    committed = bench.committed()[0]
    assert flaky.done == list(range(committed)), "all that was handled is committed, no more"
    assert committed == FLAKY if attempts < 3 else committed > FLAKY

    with bench.run(kind, lambda m: again.append(m.n), ordering="partition") as second:
        wait_until(lambda: bench.committed() == {0: RECORDS}, PATIENCE, "the rest is handled")
        second.stop()
    assert again == list(range(committed, RECORDS))


@pytest.mark.parametrize("moment", ["attempt 1", "wait 1", "attempt 3"])
@pytest.mark.parametrize("kind", BOTH)
def test_at_most_once_what_is_committed_gets_its_attempts_without_the_waits(
    new_bench, kind, moment
):
    """Nobody else would ever handle it; so a graceful stop loses nothing and starts no window."""
    bench, flaky, again = new_bench(), Flaky(moment), []
    bench.produce(range(RECORDS))
    delay = 0.05 if moment in {"attempt 3", "attempt 2", "failure 2 is told"} else 3_600.0
    options = {"max_retries": 3, "retry_delay": delay, "observers": [flaky]}
    options |= {"commit_strategy": "before_processing", "ordering": "partition"}
    flaky.running = bench.run(kind, flaky.handle, **options)
    with flaky.running:
        flaky.stop_in_the_wait()
        flaky.running.end(10)

    assert flaky.attempts.count(FLAKY) == 3
    assert FLAKY in flaky.done
    assert bench.committed() == {0: len(flaky.done)}, "all that is committed was handled"
    assert Outcome.LOST not in flaky.running.events.outcomes()

    with bench.run(kind, lambda m: again.append(m.n), **options) as second:
        wait_until(lambda: bench.committed() == {0: RECORDS}, PATIENCE, "the rest is committed")
        second.stop()
    assert sorted(flaky.done + again) == list(range(RECORDS))


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("kind", ["threads", "async"])
def test_a_stop_at_any_moment_of_many_retries_loses_and_repeats_nothing(new_bench, kind, strategy):
    """Three loops in a row are stopped in the thick of it; the fourth one finishes the work."""
    bench, lock, done = new_bench(partitions=2), threading.Lock(), []
    total = 600
    bench.produce(range(total), partition=lambda n: n % 2, key=lambda n: b"%d" % (n % 30))
    failed: dict[int, int] = {}

    def handle(message) -> None:
        with lock:
            failed[message.n] = failed.get(message.n, 0) + 1
            attempt = failed[message.n]
        if message.n % 3 == 0 and attempt < 3:
            raise ValueError(f"attempt {attempt}")
        with lock:
            done.append(message.n)

    options = {"max_retries": 10, "retry_delay": 0.01, "commit_strategy": strategy}
    options |= {"ordering": "key", "commit_ahead": 0.01}
    for goal in (100, 250, 400):
        with bench.run(kind, handle, **options) as running:
            wait_until(lambda goal=goal: len(done) >= goal, PATIENCE, "it is in the thick of it")
            running.stop()
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: len(done) >= total, PATIENCE, "all is handled")
        running.stop()

    assert sorted(done) == list(range(total))
    assert bench.committed() == bench.ends()
