"""Commits keep up: a loop is stopped at full speed, and what it committed is what it handled.

Committed is the offset and, where handlers run at the same time, the records beyond it that the
commit's metadata lists (:mod:`flowodm.consumer.engine.offsets`).
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING

import by_hand
from concurrency import wait
from contest import Row
from ground import Ground, Order, Tally
from library import async_loop, run_to_the_end, sync_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm import AsyncConsumerLoop, ConsumerLoop

#: Seconds from the first handled record to stop(): at least one commit by interval lies between.
UNTIL_STOP = 1.5
STOP_WITHIN = 1.0
ENOUGH = 10_000_000


def run(ground: Ground, records: int) -> list[Row]:
    """One run a contender; the topic must last for longer than UNTIL_STOP."""
    topic = ground.topic(records)
    rows = []
    for name, consume in contenders(ground.bootstrap, topic).items():
        tally = Tally(ENOUGH)
        group, stopped, ended = consume(tally)
        done = ground.committed(topic, group)
        rate = tally.handled / UNTIL_STOP
        what = f"{name} ({rate:,.0f}/s)"
        rows.append(
            Row(
                "stopped at full speed: seconds until run() has ended",
                what,
                ended - stopped,
                "s",
                target=f"< {STOP_WITHIN:g} s",
                met=ended - stopped < STOP_WITHIN,
            )
        )
        missing = float(tally.handled - done)
        rows.append(
            Row(
                "stopped at full speed: handled and not committed",
                what,
                missing,
                "records",
                target="= 0",
                met=not missing,
            )
        )
    return sorted(rows, key=lambda row: row.part)


Stopped = tuple[str, float, float]


def contenders(bootstrap: str, topic: str) -> dict[str, Callable[[Tally], Stopped]]:
    """Each consumes until it is stopped: its group, when it was stopped, when it had ended."""

    def hand(tally: Tally) -> Stopped:
        group, over = uuid.uuid4().hex, threading.Event()
        consumer = by_hand.consumer_of(bootstrap, topic, group)

        def handle(_order: Order) -> None:
            tally.count()

        return group, *_stop_midway(
            tally,
            lambda: by_hand.one_after_the_other(consumer, topic, handle, over),
            over.set,
        )

    def of(loop: ConsumerLoop | AsyncConsumerLoop, tally: Tally) -> Stopped:
        return loop.options.group, *_stop_midway(tally, lambda: run_to_the_end(loop), loop.stop)

    def slow(_order: Order) -> None:
        time.sleep(0.001)

    return {
        "by hand": hand,
        "ConsumerLoop after_processing": lambda t: of(sync_loop(topic, t, "after_processing"), t),
        "ConsumerLoop before_processing": lambda t: of(sync_loop(topic, t, "before_processing"), t),
        "ConsumerLoop, handler of 1 ms": lambda t: of(
            sync_loop(topic, t, "after_processing", slow), t
        ),
        "ConsumerLoop, 8 threads, 1 ms, by key": lambda t: of(
            sync_loop(topic, t, "after_processing", slow, max_concurrent=8, ordering="key"), t
        ),
        "AsyncConsumerLoop, trivial handler": lambda t: of(async_loop(topic, t), t),
        "AsyncConsumerLoop, 0 to 5 ms, by key": lambda t: of(async_loop(topic, t, wait), t),
        "AsyncConsumerLoop, 0 to 5 ms, unordered": lambda t: of(
            async_loop(topic, t, wait, ordering="unordered"), t
        ),
        "AsyncConsumerLoop before_processing, 0 to 5 ms": lambda t: of(
            async_loop(topic, t, wait, "before_processing"), t
        ),
    }


def _stop_midway(
    tally: Tally, consume: Callable[[], None], stop: Callable[[], None]
) -> tuple[float, float]:
    stopped = 0.0

    def watch() -> None:
        nonlocal stopped
        while not tally.first:
            time.sleep(0.01)
        time.sleep(UNTIL_STOP)
        stopped = time.perf_counter()
        stop()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    consume()
    ended = time.perf_counter()
    watcher.join()
    return stopped, ended
