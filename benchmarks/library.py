"""The library's loops as contenders: each consumes a topic from its beginning in a new group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ground import Order, Profile, Tally, read

from flowodm import AsyncConsumerLoop, ConsumerLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def sync_loop(
    topic: str,
    tally: Tally,
    strategy: str,
    work: Callable[[Order], None] | None = None,
    **more: Any,
) -> ConsumerLoop:
    """A loop that ends with the tally's last record; its handler counts, and does ``work``."""

    def handle(order: Order) -> None:
        if work is not None:
            work(order)
        if tally.count():
            loop.stop()

    loop = ConsumerLoop(
        Order,
        handle,
        Profile(),
        read(topic),
        commit_strategy=strategy,
        handle_signals=False,  # Ctrl-C is for the benchmark, not for the loop of the moment
        **more,
    )
    return loop


def async_loop(
    topic: str,
    tally: Tally,
    work: Callable[[Order], Awaitable[None]] | None = None,
    strategy: str = "after_processing",
    **more: Any,
) -> AsyncConsumerLoop:
    """The same for coroutine functions, with 100 handlers at a time."""

    async def handle(order: Order) -> None:
        if work is not None:
            await work(order)
        if tally.count():
            loop.stop()

    loop = AsyncConsumerLoop(
        Order,
        handle,
        Profile(),
        read(topic),
        commit_strategy=strategy,
        max_concurrent=100,
        handle_signals=False,
        **more,
    )
    return loop


def run_to_the_end(loop: ConsumerLoop | AsyncConsumerLoop) -> None:
    """Consume until the loop is stopped, in this thread."""
    if isinstance(loop, ConsumerLoop):
        loop.run()
    else:
        asyncio.run(loop.run())
