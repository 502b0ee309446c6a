"""Handlers that work without ever waiting leave room for whatever else runs on the event loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from support.loops import PATIENCE
from support.waiting import wait_until


@pytest.mark.parametrize(
    "options",
    [{"ordering": "partition"}, {"ordering": "key"}, {"batch_size": 50}],
    ids=["by partition", "by key", "batches"],
)
def test_many_short_computations_do_not_hold_up_the_event_loop(new_bench, options):
    bench, handled, longest = new_bench(), [], []
    bench.produce(range(300), key=lambda n: b"%d" % (n % 20))

    async def compute(messages) -> None:
        batch = messages if isinstance(messages, list) else [messages]
        ends = time.monotonic() + 0.005 * len(batch)
        while time.monotonic() < ends:
            pass
        handled.extend(batch)

    async def measure() -> None:
        longest.append(0.0)
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0)
            longest[0] = max(longest[0], time.monotonic() - begun)

    tasks = []

    async def on_startup() -> None:
        tasks.append(asyncio.create_task(measure()))

    async def on_shutdown() -> None:
        tasks[0].cancel()

    hooks = {"on_startup": on_startup, "on_shutdown": on_shutdown}
    with bench.run("async", compute, max_concurrent=20, **hooks, **options) as running:
        wait_until(lambda: len(handled) == 300, PATIENCE, "all is handled")
        running.stop()

    assert longest[0] < 0.7  # 1.5 s for all of it
