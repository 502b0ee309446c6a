"""OffsetCommit requests and their answers, on the poller's thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import KafkaException, TopicPartition

from flowodm.consumer.offsets import Position
from flowodm.events import Committed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Consumer, KafkaError

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.events import TP

T = TypeVar("T")

#: Seconds for a call into the client, when nothing else bounds it.
CALL_TIMEOUT = 10.0


class Committer:
    """Commits what the engine says, when it says so, and tells it the broker's answer.

    Args:
        dispatch: The engine.
        on_error: Told the error of an answer that came in the background.
    """

    def __init__(self, dispatch: Dispatch, on_error: Callable[[KafkaError], None]) -> None:
        self._dispatch = dispatch
        self._on_error = on_error
        self._sent_at: deque[float] = deque()
        self._consumer: Consumer

    def use(self, consumer: Consumer) -> None:
        """The consumer to commit with; its ``on_commit`` is :meth:`answered`."""
        self._consumer = consumer

    def commit_ahead(self) -> None:
        """Confirm the next window, if it is time, and let its handlers start."""
        with self._dispatch as engine:
            window = engine.window(time.monotonic())
        if window is None:
            return
        confirmed = False
        try:
            confirmed = self.commit_now(window.offsets, CALL_TIMEOUT) is None
        finally:  # whatever happens, its records belong to somebody
            with self._dispatch as engine:
                engine.window_answered(window, time.monotonic(), ok=confirmed)
                engine.schedule.answered(time.monotonic(), ok=confirmed)

    def commit_if_due(self) -> None:
        """Send what may be committed, if it is time; the answer comes in a later poll."""
        now = time.monotonic()
        with self._dispatch as engine:
            if not engine.schedule.due(now, idle=not engine.buffered):
                return
            offsets = engine.to_commit()
            if not offsets:
                engine.schedule.nothing(now)
                return
            engine.schedule.sent(now)
        self._send(offsets)

    def _send(self, offsets: dict[TP, Position]) -> None:
        self._sent_at.append(time.monotonic())
        try:
            self._consumer.commit(offsets=_topic_partitions(offsets), asynchronous=True)
        except KafkaException as error:
            self._answered(offsets, error.args[0])

    def commit_parting(self, offsets: dict[TP, Position]) -> None:
        """Commit partitions that are being revoked, from within the callback; do not wait.

        Nobody may wait for an answer there: the client runs no other thread's call while a
        poll is under way, and its own has no time-out. The request goes out on the
        coordinator's connection before the one that gives the partitions up, and the broker
        takes them one after the other, so the next owner starts from these offsets.
        """
        if offsets:
            self._send(offsets)

    def commit_now(self, offsets: dict[TP, Position], timeout: float) -> str | None:
        """Commit and wait for the broker's answer; returns the error, None if confirmed."""
        if not offsets:
            return None
        wanted = _topic_partitions(offsets)
        begun = time.monotonic()

        def commit() -> list[TopicPartition]:
            return self._consumer.commit(offsets=wanted, asynchronous=False) or []

        try:
            failed = _first_error(bounded(commit, timeout))
            problem = None if failed is None else failed.str()
        except KafkaException as error:
            problem = str(error.args[0].str())
        except TimeoutError as error:
            problem = str(error)
        self._book(offsets, problem, time.monotonic() - begun)
        return problem

    def answered(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Librdkafka's ``offset_commit_cb``: the answer to :meth:`commit_if_due`."""
        self._answered(positions(partitions), error or _first_error(partitions))

    def _answered(self, offsets: dict[TP, Position], error: KafkaError | None) -> None:
        now = time.monotonic()
        with self._dispatch as engine:
            engine.schedule.answered(now, ok=error is None)
        # Answers come in the order of the requests: the coordinator has one connection.
        took = now - self._sent_at.popleft() if self._sent_at else None
        self._book(offsets, None if error is None else error.str(), took)
        if error is not None:
            self._on_error(error)

    def _book(
        self, offsets: dict[TP, Position], problem: str | None, seconds: float | None
    ) -> None:
        if problem is None:
            with self._dispatch as engine:
                for tp, position in offsets.items():
                    engine.committed(tp, position)
        told = {tp: position.offset for tp, position in offsets.items()}
        self._dispatch.tell(Committed(told, problem, seconds))


def positions(partitions: Iterable[TopicPartition]) -> dict[TP, Position]:
    """Kafka's answers about committed offsets in the engine's terms."""
    return {(p.topic, p.partition): Position(p.offset, p.metadata or "") for p in partitions}


def bounded(call: Callable[[], T], timeout: float) -> T:
    """Run a call that may never return in a thread of its own, for at most this many seconds.

    Raises:
        TimeoutError: It did not return in time; the thread is left behind, it is a daemon.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller
            errors.append(error)

    thread = threading.Thread(target=work, name="flowodm-bounded", daemon=True)
    thread.start()
    thread.join(timeout)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {timeout:.1f} s")
    return results[0]


def _topic_partitions(offsets: dict[TP, Position]) -> list[TopicPartition]:
    return [TopicPartition(*tp, p.offset, p.note) for tp, p in offsets.items()]


def _first_error(answers: Iterable[TopicPartition]) -> KafkaError | None:
    return next((answer.error for answer in answers if answer.error is not None), None)
