"""Memory stays flat over millions of records, and bounded when a handler stalls.

Each measurement is a process of its own, so that nothing but the loop is in its memory. Linux.
"""

from __future__ import annotations

import multiprocessing
import threading
import uuid
from typing import TYPE_CHECKING

import by_hand
from contest import BY_HAND, Row
from ground import Ground, Order, Tally, resident
from library import async_loop, run_to_the_end, sync_loop

from flowodm import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm import AsyncConsumerLoop, ConsumerLoop

LOOPS = ("ConsumerLoop after_processing", "ConsumerLoop before_processing", "AsyncConsumerLoop")
#: The first tenth fills librdkafka's queue (queued.max.messages.kbytes: 64 MB) and Python's arenas.
SAMPLES = 10
#: Megabytes that may come between the first tenth and the end.
FLAT_WITHIN = 20.0
STALL = 8.0
#: Megabytes: librdkafka's queue, and the loop's own buffer.
STALLED_WITHIN = 64 + 64


def run(ground: Ground, records: int) -> list[Row]:
    """Flat over so many records in one run; then bounded while the handler stands still."""
    topic = ground.topic(records)
    rows: list[Row] = []
    for name in (BY_HAND, *LOOPS):
        samples = _in_a_process(_flow, ground.bootstrap, topic, name, records)
        part = f"resident memory over {records:,} records"
        first, last = samples[0], samples[-1]
        met = None if name == BY_HAND else last - first <= FLAT_WITHIN
        target = "" if name == BY_HAND else f"grows < {FLAT_WITHIN:g} MB"
        rows.append(Row(part, f"{name}, after a tenth", first, "MB"))
        rows.append(Row(part, f"{name}, at the end", last, "MB", last / first, target, met))
    base = 0.0
    for name in (BY_HAND, *LOOPS):
        before, after = _in_a_process(_stall, ground.bootstrap, topic, name, records)
        base = base or after - before
        part = f"resident memory gained while the handler stalls for {STALL:g} s"
        grown = after - before
        met = None if name == BY_HAND else grown <= STALLED_WITHIN
        target = "" if name == BY_HAND else f"< {STALLED_WITHIN} MB"
        rows.append(Row(part, name, grown, "MB", grown / base, target, met))
    return rows


def _in_a_process(
    measure: Callable[[str, str, str, int], list[float]], *arguments: str | int
) -> list[float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def _flow(bootstrap: str, topic: str, name: str, records: int) -> list[float]:
    """Resident megabytes after each tenth."""
    tally, samples, step = Tally(records), [], records // SAMPLES

    def sample(_order: Order) -> None:
        if (tally.handled + 1) % step == 0:
            samples.append(resident())

    _consume(bootstrap, topic, name, tally, sample)
    return samples


def _stall(bootstrap: str, topic: str, name: str, records: int) -> list[float]:
    """Resident megabytes at the first record, and at the end of the time it takes."""
    tally, samples = Tally(records), []
    over = threading.Event()

    def stand_still(_order: Order) -> None:
        if not samples:
            samples.append(resident())
            over.wait(STALL)
            samples.append(resident())
            tally.left = 1  # the loop may end

    _consume(bootstrap, topic, name, tally, stand_still)
    return samples


def _consume(
    bootstrap: str, topic: str, name: str, tally: Tally, work: Callable[[Order], None]
) -> None:
    connect(bootstrap_servers=bootstrap)
    if name == BY_HAND:
        consumer = by_hand.consumer_of(bootstrap, topic, uuid.uuid4().hex)

        def handle(order: Order) -> None:
            work(order)
            tally.count()

        by_hand.one_after_the_other(consumer, topic, handle, tally.complete)
        return
    loop: ConsumerLoop | AsyncConsumerLoop
    if name == "AsyncConsumerLoop":

        async def work_async(order: Order) -> None:
            work(order)

        loop = async_loop(topic, tally, work_async)
    else:
        loop = sync_loop(topic, tally, name.split()[1], work)
    run_to_the_end(loop)
