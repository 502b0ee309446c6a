"""Fetch from the consumer's queue into the engine, as much as there is room for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, TopicPartition

from flowodm.consumer.engine.actions import NOTHING_ARRIVED, Arrivals, Awaited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Consumer, Message

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.actions import Fetch, WaitForRoom
    from flowodm.events import TP

END_OF_PARTITION = KafkaError._PARTITION_EOF  # noqa: SLF001 - the constant's public name


class Fetcher:
    """Takes records from a consumer, in its thread.

    Args:
        consumer: The consumer.
        dispatch: Waits for changes of the engine.
        size: The most records of one fetch.
        serve_every: Seconds between two looks for callbacks while the buffer is full.
        on_error: Told of what the client says in a record's place.
    """

    def __init__(
        self,
        consumer: Consumer,
        dispatch: Dispatch,
        size: int,
        serve_every: float,
        on_error: Callable[[KafkaError], None],
    ) -> None:
        self._consumer = consumer
        self._dispatch = dispatch
        self._size = size
        self._serve_every = serve_every
        self._on_error = on_error
        self._next_serving = 0.0

    def fetch(self, plan: Fetch) -> Arrivals:
        """Fetch; without a record wait for the next window, if the plan says so."""
        arrived = self._fetch(plan.timeout, self._size)
        if not arrived.records and plan.window_patience:
            self._dispatch.wait_for(Awaited.WINDOW, plan.window_patience)
        return arrived

    def wait_for_room(self, plan: WaitForRoom) -> Arrivals:
        """Wait with a full buffer, and serve the client's callbacks now and then.

        A record comes along each time; that is a handful until the pause (see `Pressure`).
        """
        self._dispatch.wait_for(plan.awaited, plan.timeout)
        now = time.monotonic()
        if now < self._next_serving and not plan.serve_now:
            return NOTHING_ARRIVED
        self._next_serving = now + self._serve_every
        return self._fetch(0.0, 1)

    def _fetch(self, timeout: float, most: int) -> Arrivals:
        """Wait for a first record only: a lone one is not held back for company.

        Args:
            timeout: Seconds to wait for it.
            most: The most records to take.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            return NOTHING_ARRIVED
        messages = [first]
        if most > 1:
            messages += self._consumer.consume(most - 1, 0)
        return self._sorted(messages)

    def _sorted(self, messages: Iterable[Message]) -> Arrivals:
        """Sort messages by partition, and tell errors."""
        records: dict[TP, list[Message]] = {}
        ends: dict[TP, int] = {}
        for message in messages:
            tp: TP = (message.topic(), message.partition())  # type: ignore[assignment]  # never None
            error = message.error()
            if error is not None:
                if error.code() == END_OF_PARTITION:
                    ends[tp] = message.offset() or 0
                else:
                    self._on_error(error)
                continue
            batch = records.get(tp)
            if batch is None:
                records[tp] = [message]
            else:
                batch.append(message)
        return Arrivals(records, ends)

    def log_end(self, tp: TP) -> int | None:
        """Return where a log ends, as the last fetch told it; the broker is not asked."""
        end = self._consumer.get_watermark_offsets(TopicPartition(*tp), cached=True)[1]
        return end if end >= 0 else None
