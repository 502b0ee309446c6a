"""The user's side of the fleet tests: a model, and handlers that leave a trace of every record.

A trace is one line in a file a process, so what was handled can be counted after any crash.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path

from flowodm import FlowBaseModel


class Order(FlowBaseModel):
    class Settings:
        topic = os.environ.get("SHOP_TOPIC", "shop-orders")
        consumer_group = os.environ.get("SHOP_GROUP", "shop")
        key_field = "customer"

    order_id: int
    customer: str
    amount: float


def trace(kind: str, what: object) -> None:
    """One line, whole or not at all: O_APPEND writes of one process do not interleave."""
    path = Path(os.environ["SHOP_TRACES"], f"{kind}-{os.getpid()}")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{what}\n".encode())
    finally:
        os.close(fd)


def handle(order: Order) -> None:
    trace("handled", order.order_id)


def handle_slowly(order: Order) -> None:
    time.sleep(0.001)  # the work itself
    trace("handled", order.order_id)


async def handle_async(order: Order) -> None:
    await asyncio.sleep(0.001)  # the work itself
    trace("handled", order.order_id)


attempts: dict[int, int] = {}


def succeed_at_the_fourth_attempt(order: Order) -> None:
    attempts[order.order_id] = attempts.get(order.order_id, 0) + 1
    trace("attempt", order.order_id)
    if attempts[order.order_id] <= 3:
        raise RuntimeError("not yet")
    trace("handled", order.order_id)


def note_error(error: Exception, raw, message: Order | None) -> None:
    kind = "none" if message is None else "message"
    trace("error", f"{type(error).__name__} {kind} {raw.partition()} {raw.offset()}")


def crash_on_startup() -> None:
    raise RuntimeError("no database")


def ask_for_more_than_its_limit_once(order: Order) -> None:
    """With RLIMIT_AS, as a service manager sets it, memory is refused: nothing is killed."""
    limited = Path(os.environ["SHOP_TRACES"], "limited")
    if not limited.exists():
        limited.touch()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + 2**26
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        bytearray(2**30)
    trace("handled", order.order_id)
