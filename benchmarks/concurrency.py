"""10,000 records whose async handlers take 0 to 5 ms, at most 100 of them at a time.

The handlers' waits alone come to 25 s, that is 0.25 s for 100 at a time: what a contender takes
beyond that is its overhead, and the time that its places stand empty.
"""

from __future__ import annotations

import asyncio
import functools
import uuid
from typing import TYPE_CHECKING

import by_hand
from contest import Row, durations, take_turns
from ground import DELAYS, Ground, Order, Tally
from library import async_loop, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS = 10_000
SEMAPHORE = "by hand, semaphore"
CHAINS = "by hand, a chain for each key, 1,000 fetched ahead"
LONG_CHAINS = "by hand, a chain for each key, 10,000 fetched ahead"
UNORDERED = 'AsyncConsumerLoop, ordering="unordered"'
BY_KEY = 'AsyncConsumerLoop, ordering="key"'


def run(ground: Ground, rounds: int) -> list[Row]:
    """From the first handled record to the last one."""
    topic = ground.topic(RECORDS)
    seconds = take_turns(rounds, contenders(ground.bootstrap, topic))
    return [
        *durations(
            "unordered, handlers of 0 to 5 ms",
            {name: seconds[name] for name in (SEMAPHORE, UNORDERED)},
            SEMAPHORE,
            {UNORDERED: 1.15},
        ),
        *durations(
            "ordered by 100 keys, handlers of 0 to 5 ms",
            {name: seconds[name] for name in (CHAINS, LONG_CHAINS, BY_KEY)},
            CHAINS,
            {BY_KEY: 1.0},
        ),
    ]


async def wait(order: Order) -> None:
    """What the handlers do."""
    await asyncio.sleep(DELAYS[order.order_id])


def contenders(bootstrap: str, topic: str) -> dict[str, Callable[[], float]]:
    """Each consumes the topic in a new group and returns the seconds it took."""

    def hand(loop: Callable[..., object]) -> float:
        tally = Tally(RECORDS)

        async def handle(order: Order) -> None:
            await wait(order)
            tally.count()

        consumer = by_hand.consumer_of(bootstrap, topic, uuid.uuid4().hex)
        asyncio.run(loop(consumer, topic, handle, tally.complete))  # type: ignore[arg-type]  # async
        return tally.seconds

    def library(ordering: str) -> float:
        tally = Tally(RECORDS)
        run_to_the_end(async_loop(topic, tally, wait, ordering=ordering))
        return tally.seconds

    return {
        SEMAPHORE: lambda: hand(by_hand.with_a_semaphore),
        UNORDERED: lambda: library("unordered"),
        CHAINS: lambda: hand(by_hand.with_a_chain_for_each_key),
        LONG_CHAINS: lambda: hand(
            functools.partial(by_hand.with_a_chain_for_each_key, most_waiting=by_hand.EVERY_KEY)
        ),
        BY_KEY: lambda: library("key"),
    }
