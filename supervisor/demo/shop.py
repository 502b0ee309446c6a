"""The demo's user code: a model and two handlers. The workers import it.

Each worker process notes the orders that it has handled in a file of its own, so that the demo can
compare what was produced with what was processed, even if processes were killed meanwhile.
"""

import asyncio
import os
import time
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from flowodm import BaseSettings, FlowBaseModel

LEDGERS = "FLOWODM_DEMO_LEDGERS"
"""Environment variable with the folder of those files; without it none is written."""


class Item(BaseModel):
    """One line of an order."""

    article: str
    quantity: int
    price: float


class Order(FlowBaseModel):
    """An order of a customer."""

    class Settings:
        """The topic, and the key: orders of a customer keep their order."""

        topic = "demo-orders"
        key_field = "customer"

    number: int
    customer: str
    placed_at: datetime
    items: list[Item]
    note: str | None = None


class Brisk(BaseSettings):
    """A session of 6 s, so that other members take over soon after a crash."""

    session_timeout_ms = 6_000
    heartbeat_interval_ms = 500


def pack(order: Order) -> None:
    """Pack an order; takes a millisecond for each item."""
    time.sleep(0.001 * len(order.items))
    _note("packing", order)


async def send_mail(order: Order) -> None:
    """Send a mail; takes as long as a nearby mail server."""
    await asyncio.sleep(0.01)
    _note("mailing", order)


_files: dict[str, int] = {}


def _note(consumer: str, order: Order) -> None:
    """Append the order's number. A write that has returned survives the SIGKILL of its process."""
    folder = os.environ.get(LEDGERS)
    if folder is None:
        return
    if consumer not in _files:
        path = Path(folder, f"{consumer}.{os.getpid()}")
        _files[consumer] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(_files[consumer], b"%d\n" % order.number)
