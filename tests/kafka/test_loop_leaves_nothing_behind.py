"""Tasks, threads and timers do not pile up, and each is awaited at the end."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowodm import AsyncConsumerLoop, ConsumerError, RecordError
from flowodm.events import LoopState
from support.loops import PATIENCE, brisk
from support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable

STRATEGIES = pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
HANDLERS = 8
#: What a loop has besides its handlers: run() itself, a hook, a step of the way out.
OTHER_TASKS = 4
#: The poller, the thread under test, a call into the client that is bounded.
OTHER_THREADS = 4


@STRATEGIES
def test_no_more_tasks_than_handlers_live_at_any_time_of_a_long_run(new_bench, strategy):
    bench, tasks = new_bench(partitions=2), []
    total = 6_000
    bench.produce(range(total), partition=lambda n: n % 2)
    failed: set[int] = set()

    async def handle(message: Any) -> None:
        tasks.append(len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        if message.n % 10 == 0 and message.n not in failed:
            failed.add(message.n)
            raise ValueError("not yet")

    options = {"ordering": "unordered", "max_concurrent": HANDLERS, "commit_strategy": strategy}
    options |= {"max_retries": 1, "retry_delay": 0.2}
    with bench.run("async", handle, **options) as running:
        wait_until(lambda: running.status().processed == total, PATIENCE, "all is handled")
        running.stop()

    assert len(tasks) == total + total // 10
    assert max(tasks) <= HANDLERS + OTHER_TASKS
    assert bench.committed() == bench.ends()


def test_one_timer_waits_for_the_next_retry_however_often_handlers_look_for_work(new_bench):
    bench, timers = new_bench(), []
    total = 3_000
    bench.produce(range(total))

    async def handle(message: Any) -> None:
        timers.append(len(asyncio.get_running_loop()._scheduled))
        if message.n == 0:
            raise ValueError("not yet")

    # Small fetches, so that the handlers often find nothing to do.
    options = {"settings": brisk(max_poll_records=5), "ordering": "unordered"}
    options |= {"max_concurrent": HANDLERS, "max_retries": 1, "retry_delay": 3_600.0}
    with bench.run("async", handle, **options) as running:
        wait_until(lambda: running.status().processed == total - 1, PATIENCE, "all is handled")
        running.loop.stop(now=True)
        running.end()

    # asyncio keeps cancelled timers until half of them, and more than a hundred, are.
    assert max(timers) < 150


@STRATEGIES
@pytest.mark.parametrize("kind", ["sync", "threads"])
def test_no_more_threads_than_handlers_live_at_any_time_of_a_long_run(new_bench, kind, strategy):
    bench, threads = new_bench(partitions=2), []
    total = 6_000
    bench.produce(range(total), partition=lambda n: n % 2)
    failed: set[int] = set()
    before = threading.active_count()

    def handle(message: Any) -> None:
        threads.append(threading.active_count())
        if message.n % 10 == 0 and message.n not in failed:
            failed.add(message.n)
            raise ValueError("not yet")

    hands = HANDLERS if kind == "threads" else 1
    options = {"ordering": "unordered", "max_concurrent": hands, "commit_strategy": strategy}
    options |= {"max_retries": 1, "retry_delay": 0.2, "commit_interval": 0.01}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: running.status().processed == total, PATIENCE, "all is handled")
        running.stop()

    assert len(threads) == total + total // 10
    assert max(threads) <= before + hands + OTHER_THREADS
    assert bench.committed() == bench.ends()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("kind", ["sync", "threads", "async"])
def test_eight_runs_leave_as_many_threads_and_open_files_as_two(new_bench, kind):
    """A consumer that is not closed keeps its threads and its connections."""
    bench = new_bench()
    bench.produce(range(20))

    def run_once(count: int) -> int:
        with bench.run(kind, lambda _: None, settings=brisk(max_poll_records=1)) as running:
            running.joined(1)
            if count % 2:
                wait_until(lambda: running.status().lag == 0, PATIENCE, "nothing is left")
            running.stop()
        return open_files()

    run_once(1)
    files = run_once(2)
    for count in range(3, 9):
        run_once(count)

    def no_more() -> bool:
        ours = [t for t in threading.enumerate() if t.name.startswith("flowodm-")]
        left = [t for t in ours if t.name != "flowodm-producer"]
        return not left and open_files() <= files + 2

    wait_until(no_more, 10, "threads and files are as before")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_consumer_that_could_not_join_is_closed_too(new_bench, kind):
    """As when its predecessor cannot be evicted, or a subscription is refused."""
    loops, files = [], 0

    def refuse() -> None:
        raise ValueError("not yet")

    for count in range(1, 6):
        running = new_bench().run(kind, lambda _: None)
        running.loop.before_join = refuse
        with running, pytest.raises(ValueError, match="not yet"):
            running.end()
        loops.append(running.loop)  # whoever runs it again keeps it meanwhile
        if count == 2:
            files = open_files()
    assert open_files() <= files + 2


def test_partitions_of_a_loop_whose_event_loop_was_closed_go_to_other_members(new_bench):
    bench, seen = new_bench(), []
    bench.produce(range(3))

    async def handle(message: Any) -> None:
        seen.append(message.n)
        await asyncio.sleep(3_600)

    loop = AsyncConsumerLoop(
        bench.model,
        handle,
        brisk(session_timeout_ms=60_000),
        commit_strategy="after_processing",
        handle_signals=False,
    )
    events = asyncio.new_event_loop()
    events.set_exception_handler(lambda *_: None)  # for "Task was destroyed but it is pending!"
    running = events.create_task(loop.run())
    events.run_until_complete(wait_until_async(lambda: len(seen) == 3, PATIENCE, "it handles"))
    events.close()

    again: list[int] = []
    with bench.run("sync", lambda m: again.append(m.n)) as successor:
        wait_until(lambda: len(again) == 3, 10, "another member has the partition")
        successor.stop()
    assert not running.done()
    assert bench.committed() == {0: 3}
    for task in asyncio.all_tasks(events):
        task.get_coro().close()  # as the garbage collector does, some day


class Handlers:
    """Async handlers that count how many of them were begun, and how many came to an end.

    Once all of them have begun the first one does something, and the others go on for so long.
    """

    def __init__(self, first: Callable[[], Any], seconds: float) -> None:
        self.begun = self.ended = 0
        self.all_begun = asyncio.Event()
        self._first = first
        self._seconds = seconds

    async def handle(self, message: Any) -> None:
        self.begun += 1
        if self.begun == HANDLERS:
            self.all_begun.set()
        await self.all_begun.wait()
        try:
            if message.n == 0:
                self._first()
            await asyncio.sleep(self._seconds)
        finally:
            await asyncio.sleep(0.05)  # what cleans up may wait, too
            self.ended += 1


def fail() -> None:
    raise ValueError("broken")


def run_out_of_memory() -> None:
    raise MemoryError


def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@pytest.mark.parametrize(
    ("how", "error"),
    [(fail, RecordError), (run_out_of_memory, MemoryError), (cancel_itself, ConsumerError)],
)
async def test_when_one_handler_ends_the_loop_the_others_are_awaited(new_bench, how, error):
    bench, handlers = new_bench(), Handlers(how, 0.3)
    bench.produce(range(HANDLERS))
    before = asyncio.all_tasks()
    loop = AsyncConsumerLoop(
        bench.model,
        handlers.handle,
        brisk(),
        max_concurrent=HANDLERS,
        ordering="unordered",
        commit_strategy="after_processing",
    )
    with pytest.raises(error):
        await asyncio.wait_for(loop.run(), 20)

    assert handlers.begun == handlers.ended == HANDLERS
    assert asyncio.all_tasks() == before
    assert loop.status().processed == HANDLERS - 1, "they were not cut short"
    assert bench.committed().get(0, 0) == 0


@pytest.mark.parametrize("how", ["stop now", "cancelled twice", "drain deadline"])
async def test_handlers_that_are_cut_short_have_cleaned_up_when_run_ends(new_bench, how):
    bench, handlers = new_bench(), Handlers(lambda: None, 3_600.0)
    bench.produce(range(HANDLERS))
    before = asyncio.all_tasks()
    loop = AsyncConsumerLoop(
        bench.model,
        handlers.handle,
        brisk(),
        max_concurrent=HANDLERS,
        ordering="unordered",
        commit_strategy="after_processing",
        drain_timeout=0.1 if how == "drain deadline" else 3_600.0,
    )
    running = asyncio.create_task(loop.run())
    await asyncio.wait_for(handlers.all_begun.wait(), PATIENCE)
    began = time.monotonic()
    match how:
        case "stop now":
            loop.stop(now=True)
        case "cancelled twice":
            running.cancel()
            draining = LoopState.DRAINING
            await wait_until_async(lambda: loop.status().state is draining, 5, "it drains")
            running.cancel()
        case _:
            loop.stop()
    if how == "cancelled twice":
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        await asyncio.wait_for(running, 20)

    assert time.monotonic() - began < 10
    assert handlers.ended == HANDLERS
    assert asyncio.all_tasks() == before
    assert loop.status().in_flight == 0
    assert bench.committed().get(0, 0) == 0
