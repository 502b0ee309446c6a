"""A thread that produces orders at a steady rate."""

from __future__ import annotations

import threading
import time
from array import array
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Self

from flowodm import get_producer
from flowodm.exceptions import FlowODMError
from supervisor.demo.audit import UNCONFIRMED
from supervisor.demo.shop import Item, Order

if TYPE_CHECKING:
    from types import TracebackType

    from confluent_kafka import KafkaError, Message

RATE = 300
"""Orders a second."""
_PAUSE = 0.02
"""Seconds between two groups of orders."""
_FLUSH_TIMEOUT = 10.0
"""Seconds for the broker to confirm the last orders."""
_ANSWER_TIMEOUT = 10.0
"""Seconds for the broker to create the topic."""
_CUSTOMERS = 97
"""Number of customers."""


class OrderProducer:
    """Produces orders, numbered from 0, until `stop` or the end of the context.

    Args:
        rate: Orders a second. Orders that cannot be produced in time are not made up for.

    Attributes:
        partitions: The confirmed partition of each order, by its number; a byte each.
        error: Why no more orders can be produced, or None.
    """

    def __init__(self, rate: int = RATE) -> None:
        self.partitions = array("b")
        self.error: FlowODMError | None = None
        self._rate = rate
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="producer", daemon=True)

    @property
    def confirmed(self) -> int:
        """Number of orders that the broker has confirmed."""
        return len(self.partitions) - self.partitions.count(UNCONFIRMED)

    def __enter__(self) -> Self:
        get_producer().list_topics(Order.Settings.topic, timeout=_ANSWER_TIMEOUT)  # creates it
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, without waiting for the broker to confirm orders."""
        self._stopped.set()
        self._thread.join()
        get_producer().purge()

    def stop(self) -> None:
        """Stop, and wait for the broker to confirm all orders."""
        self._stopped.set()
        self._thread.join()
        get_producer().flush(_FLUSH_TIMEOUT)

    def _produce(self) -> None:
        before = time.monotonic()
        due = 0.0
        try:
            while not self._stopped.wait(_PAUSE):
                now = time.monotonic()
                due = min(due + (now - before) * self._rate, self._rate)
                before = now
                for _ in range(int(due)):
                    self._produce_one()
                due -= int(due)
        except FlowODMError as error:
            self.error = error

    def _produce_one(self) -> None:
        number = len(self.partitions)
        self.partitions.append(UNCONFIRMED)
        order_of(number, datetime.now(UTC)).produce_nowait(partial(self._delivered, number))

    def _delivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        partition = message.partition()
        if error is None and partition is not None:
            self.partitions[number] = partition


def order_of(number: int, placed_at: datetime) -> Order:
    """Make the order with this number: always the same, except for its time."""
    items = [
        Item(article=f"article-{number % 13 + line}", quantity=line + 1, price=9.5 + number % 40)
        for line in range(number % 3 + 1)
    ]
    return Order(
        number=number,
        customer=f"customer-{number * 31 % _CUSTOMERS}",
        placed_at=placed_at,
        items=items,
        note="a gift" if number % 10 == 0 else None,
    )
