"""Fetching: from the consumer's queue into the engine, as much as there is room for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer, Message

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.engine import Engine
    from flowodm.events import TP

#: Seconds between two looks for the answer to a commit ahead, which takes some 6 ms. A poll that
#: has brought it goes on waiting for a record, and the next window may be due by then.
ANSWER_TICK = 0.002

END_OF_PARTITION = KafkaError._PARTITION_EOF  # noqa: SLF001 - the constant's public name


class Fetcher:
    """Takes records from a consumer, in its thread.

    Args:
        consumer: The consumer.
        dispatch: Where records go.
        size: The most records of one fetch.
        slice_: The longest time, in seconds, that the thread may be out of reach.
        on_error: Told of what the client says in a record's place.
    """

    def __init__(
        self,
        consumer: Consumer,
        dispatch: Dispatch,
        size: int,
        slice_: float,
        on_error: Callable[[KafkaError], None],
    ) -> None:
        self._consumer = consumer
        self._dispatch = dispatch
        self._size = size
        self._slice = slice_
        self._on_error = on_error
        self._next_serving = 0.0

    def turn(self, now: float, *, paused: bool, answer_due: bool) -> None:
        """Fetch if there is room, or wait for room.

        Args:
            now: The monotonic time.
            paused: Whether nothing is to be fetched or started.
            answer_due: Whether a commit ahead is under way.
        """
        with self._dispatch as engine:
            if engine.paused is not paused:
                engine.pause(paused=paused)
            # With everything paused a fetch only serves the callbacks.
            wanted = engine.room() or engine.pressed(now) or engine.paused
            windows = engine.waiting_for_window
            # Nobody says how far a run has come, so the next window is asked for in time.
            patience = min(self._slice, engine.rules.commit_ahead / 4 or self._slice)
        if answer_due:
            self._fetch_with_answer(wanted=wanted)
        elif not wanted:
            self._wait_for_room(patience if windows else self._slice)
        elif not self._fetch_all(0 if windows else self._slice) and windows:
            self._dispatch.wait_for(_window_ready, patience)

    def _fetch_with_answer(self, *, wanted: bool) -> None:
        """Look for the answer to a commit ahead: it comes in a poll, as records do.

        With a full buffer at most one record comes along each time, and soon none: what has
        filled it is paused.
        """
        if wanted:
            self._fetch_all(ANSWER_TICK)
        else:
            self._dispatch.wait_for(lambda e: e.room(), ANSWER_TICK)
            self._fetch(0, 1)

    def _wait_for_room(self, timeout: float) -> None:
        """With a full buffer the client's callbacks are served only now and then.

        A record comes along each time; that is a handful until the pause (see Pressure).
        """
        self._dispatch.wait_for(lambda e: e.room() or _window_ready(e), timeout)
        now = time.monotonic()
        if now >= self._next_serving:
            self._next_serving = now + self._slice
            self._fetch(0, 1)

    def _fetch_all(self, timeout: float) -> bool:
        """Fetch, and fetch again while the next window wants it; returns whether anything came."""
        came = more = self._fetch(timeout)
        while more:
            with self._dispatch as engine:
                more = engine.wants_more()
            more = more and self._fetch(0)
        return came

    def _fetch(self, timeout: float, most: int | None = None) -> bool:
        """Wait for a first record only: a lone one is not held back for company.

        Args:
            timeout: Seconds to wait for it.
            most: The most records to take, instead of those of a whole fetch.

        Returns:
            Whether anything came.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            return False
        messages = [first]
        more = (most or self._size) - 1
        if more:
            messages += self._consumer.consume(more, 0)
        batches: dict[TP, list[Message]] = {}
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
            batch = batches.get(tp)
            if batch is None:
                batches[tp] = [message]
            else:
                batch.append(message)
        now = time.monotonic()
        with self._dispatch as engine:
            for tp, batch in batches.items():
                engine.fetched(tp, batch, now, self._log_end)
            for tp, end in ends.items():
                engine.reached_end(tp, end)
        return bool(batches)

    def _log_end(self, tp: TP) -> int | None:
        """As the last fetch told it; does not ask the broker."""
        end = self._consumer.get_watermark_offsets(TopicPartition(*tp), cached=True)[1]
        return end if end >= 0 else None


def _window_ready(engine: Engine) -> bool:
    return engine.window_size(time.monotonic()) > 0
