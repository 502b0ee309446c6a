"""Send OffsetCommit requests and take their answers, on the poller's thread.

Every commit is sent asynchronously, and its answer comes in a later poll. librdkafka's own way
to wait for it has no time-out, and whichever thread waits there keeps every other one out of the
consumer: while a broker does not answer, the loop could neither poll nor stop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from flowodm.consumer.engine.commit import ANSWER_TIMEOUT, MOST_REFUSALS, Remedy, remedy_for
from flowodm.consumer.engine.offsets import Position
from flowodm.events import Committed
from flowodm.exceptions import ConsumerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confluent_kafka import Consumer, KafkaError

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.window import Window
    from flowodm.events import TP

CALL_TIMEOUT = 10.0
"""Seconds for a call into the client, when nothing else bounds it."""
TICK = 0.005
"""Seconds between two looks for an answer that somebody waits for."""
ATTEMPTS_IN_CALLBACK, ATTEMPT_DELAY = 4, 0.05
"""How often a commit is sent from within a callback, and the seconds in between."""
OLDER_AGAIN = 0.25
"""Seconds after which the client has sent a request again whose connection broke
(``retry.backoff.ms``, 100 by default and doubled each time).
"""


@dataclass(slots=True, eq=False)
class Request:
    """One OffsetCommit that was sent.

    Attributes:
        offsets: What is to be committed.
        sent_at: When, in monotonic seconds.
        window: The records whose handlers wait for the answer (before_processing).
        open: Whether it has neither been answered nor given up.
        problem: Why it failed; None as long as it is open, and if it was confirmed.
    """

    offsets: Mapping[TP, Position]
    sent_at: float
    window: Window | None = None
    open: bool = True
    problem: str | None = None


class Committer:
    """Commits what the engine says, when it says so, and tells it the broker's answer.

    Each request is told to the observers once, as one Committed event: when it is answered, when
    it could not be sent, or when it is given up because no answer came in time.

    Args:
        dispatch: The engine.
        on_error: Told the error of an answer.
        fail: Called with the error that ends the loop, when the broker refuses for good.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        on_error: Callable[[KafkaError], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._dispatch = dispatch
        self._on_error = on_error
        self._fail = fail
        self._consumer: Consumer
        self._requests: list[Request] = []
        self._current: Request | None = None
        self._notes = True
        self._refusals = 0

    def use(self, consumer: Consumer) -> None:
        """Commit with this consumer; its ``on_commit`` is :meth:`answered`."""
        self._consumer = consumer

    @property
    def window_under_way(self) -> bool:
        """Whether handlers wait for the answer to a commit ahead, which a poll will bring."""
        return self._current is not None and self._current.window is not None

    # ---- sending -------------------------------------------------------------------------

    def commit_window(self, window: Window) -> None:
        """Send the commit that a window's handlers wait for."""
        self._send(window.offsets, window)

    def commit(self, offsets: Mapping[TP, Position]) -> None:
        """Send a commit; its answer comes in a later poll."""
        self._send(offsets)

    def give_up_overdue(self, now: float) -> None:
        """Count the commit under way as failed if its answer is overdue."""
        request = self._current
        if request is not None and now - request.sent_at >= ANSWER_TIMEOUT:
            self._give_up(request, f"no answer within {ANSWER_TIMEOUT:.0f} s")

    def commit_in_callback(self, offsets: Mapping[TP, Position], timeout: float) -> bool:
        """Commit from within a rebalance callback; returns whether it has arrived for certain.

        The answer cannot come there. But the broker takes the requests of a connection one
        after the other, so asking what is committed, which has a time-out, waits for the commit
        and shows whether it has arrived. If not it is sent again, a few times: of a partition
        that is being revoked the next owner would repeat records. What is still not committed
        then, because the broker is out of reach or this member is none any more, it repeats.
        """
        deadline = time.monotonic() + timeout
        older = self._current is not None and not self._current.offsets.keys().isdisjoint(offsets)
        for _ in range(ATTEMPTS_IN_CALLBACK if offsets else 0):
            self._request(offsets)
            arrived = self._arrived(offsets, deadline)
            if arrived and older:
                # Where a connection broke, the client sends the older request again, behind this
                # one. Once the partition is given up the broker takes it for a stale one.
                _sleep(OLDER_AGAIN, deadline)
                older, arrived = False, self._arrived(offsets, deadline)
            if arrived or time.monotonic() >= deadline:
                return arrived
            _sleep(ATTEMPT_DELAY, deadline)
        return not offsets

    def settle_window(self, tps: Iterable[TP], timeout: float) -> None:
        """Learn, in a callback, whether a window with these partitions was confirmed.

        Its answer could only come after the callback, which waits for the window's handlers. If
        it is not confirmed by now its records of these partitions will not be handled here.
        """
        request = self._current
        if request is None or request.window is None or request.offsets.keys().isdisjoint(tps):
            return
        if self._arrived(request.offsets, time.monotonic() + timeout):
            self._conclude(request, None)

    def commit_now(
        self,
        offsets: Mapping[TP, Position],
        timeout: float,
        serve: Callable[[float], None],
        enough: Callable[[], bool] = lambda: False,
    ) -> str | None:
        """Commit and wait for the broker's answer.

        Args:
            offsets: What to commit.
            timeout: The most seconds to wait.
            serve: Polls for so many seconds, so that the answer can come.
            enough: Whether to wait no longer, for all that.

        Returns:
            The error, None if it was confirmed.
        """
        if not offsets:
            return None
        now = time.monotonic()
        request = self._send(offsets)
        while request.open and time.monotonic() < now + timeout and not enough():
            serve(TICK)
        self._give_up(request, f"no answer within {time.monotonic() - now:.1f} s")
        return request.problem

    def await_answer(
        self,
        serve: Callable[[float], None],
        deadline: float,
        enough: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait for the commit under way; returns whether none is any more.

        One at a time, also at the end: where a connection broke, the client may send an older
        request again after a newer one, and the committed offset would move back.
        """
        while self._current is not None and time.monotonic() < deadline and not enough():
            serve(TICK)
        return self._current is None

    def close(self) -> None:
        """Count what has no answer as failed: the consumer is closed."""
        for request in list(self._requests):
            self._give_up(request, "no answer before the consumer was closed")

    def _send(self, offsets: Mapping[TP, Position], window: Window | None = None) -> Request:
        """Send the one commit that the schedule waits for."""
        if self._current is not None:
            self._give_up(self._current, "no answer before the next commit")
        return self._request(offsets, window, current=True)

    def _request(
        self, offsets: Mapping[TP, Position], window: Window | None = None, *, current: bool = False
    ) -> Request:
        request = Request(offsets, time.monotonic(), window)
        self._requests.append(request)
        if current:
            self._current = request
        wanted = [
            TopicPartition(*tp, p.offset, p.note if self._notes else "")
            for tp, p in offsets.items()
        ]
        try:
            self._consumer.commit(offsets=wanted, asynchronous=True)
        except KafkaException as error:
            self._failed(request, error.args[0])
        return request

    def _arrived(self, offsets: Mapping[TP, Position], deadline: float) -> bool:
        """Ask the broker whether this much, or more, is committed."""
        wanted = [TopicPartition(*tp) for tp in offsets]
        left = max(deadline - time.monotonic(), TICK)
        try:
            answers = self._consumer.committed(wanted, timeout=left)
        except KafkaException:
            return False  # the answer to the commit tells why
        return all(a.offset >= offsets[a.topic, a.partition].offset for a in answers)

    # ---- answers -------------------------------------------------------------------------

    def answered(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Take the answer to one request: librdkafka's ``offset_commit_cb``."""
        offsets = {(p.topic, p.partition): p.offset for p in partitions}
        error = error or next((p.error for p in partitions if p.error is not None), None)
        request = next((r for r in self._requests if _numbers(r.offsets) == offsets), None)
        if request is None:  # it was given up, or settled in a callback
            if error is not None:
                self._on_error(error)
        elif error is None:
            self._refusals = 0
            self._conclude(request, None)
        else:
            self._failed(request, error)

    def membership_changed(self) -> None:
        """Count refusals anew: those of the old membership say nothing of the new one."""
        self._refusals = 0

    def _failed(self, request: Request, error: KafkaError) -> None:
        match remedy_for(error.name()):
            case Remedy.WITHOUT_NOTE:
                self._notes = False
            case Remedy.NONE:
                self._refusals += 1
            case Remedy.AGAIN:
                pass
        self._conclude(request, error.str())
        self._on_error(error)
        if self._refusals >= MOST_REFUSALS:
            text = f"the broker refuses to commit offsets: {error.str()}"
            if error.name() == "UNKNOWN_MEMBER_ID":
                text += "; pinned partitions need a group that nobody joins as a member"
            self._fail(ConsumerError(text))

    def _give_up(self, request: Request, problem: str) -> None:
        if request.open:
            self._conclude(request, problem)

    def _conclude(self, request: Request, problem: str | None) -> None:
        """Close a request, and tell the engine and the observers once."""
        request.open, request.problem = False, problem
        self._requests.remove(request)
        now, scheduled = time.monotonic(), request is self._current
        if scheduled:
            self._current = None
        with self._dispatch as engine:
            engine.answered(
                request.offsets,
                now,
                ok=problem is None,
                window=request.window,
                scheduled=scheduled,
            )
        self._dispatch.tell(Committed(_numbers(request.offsets), problem, now - request.sent_at))


def positions(partitions: Iterable[TopicPartition]) -> dict[TP, Position]:
    """Convert Kafka's answers about committed offsets to the engine's terms."""
    return {(p.topic, p.partition): Position(p.offset, p.metadata or "") for p in partitions}


def _sleep(seconds: float, deadline: float) -> None:
    time.sleep(max(min(seconds, deadline - time.monotonic()), 0.0))


def _numbers(offsets: Mapping[TP, Position]) -> dict[TP, int]:
    return {tp: position.offset for tp, position in offsets.items()}
