"""Decide when offsets are committed, and how far ahead of the handlers. Pure."""

from __future__ import annotations

from enum import Enum

ANSWER_TIMEOUT = 75.0
"""Seconds after which an unanswered commit is taken for lost and sent again.

librdkafka answers every commit within ``socket.timeout.ms`` (60 s) of the broker's silence.
"""

RETRY_DELAY, RETRY_DELAY_MAX = 0.1, 5.0
"""Seconds before a commit that failed is sent again; doubles up to the last value."""


class CommitStrategy(Enum):
    """Whether a record is committed before or after its handler runs."""

    BEFORE_PROCESSING = "before_processing"
    AFTER_PROCESSING = "after_processing"


class Remedy(Enum):
    """What helps after a commit that failed.

    AGAIN: the same again after a delay, for as long as it takes: the broker or the way to it is
        not well, or the group rebalances. What the client could do by itself it has done.
    WITHOUT_NOTE: the same again, with nothing in the commit's metadata.
    NONE: the broker would say the same again. It is asked a few more times, as a member that was
        removed rejoins by itself and permissions may be on their way; then the loop ends.
    """

    AGAIN = "again"
    WITHOUT_NOTE = "without_note"
    NONE = "none"


MOST_REFUSALS = 8
"""How many refusals in a row end the loop: those are some 12 s, with the delays below."""

_REFUSALS = frozenset(
    {
        "UNKNOWN_MEMBER_ID",
        "ILLEGAL_GENERATION",
        "STALE_MEMBER_EPOCH",
        "FENCED_MEMBER_EPOCH",
        "GROUP_AUTHORIZATION_FAILED",
        "TOPIC_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "INVALID_GROUP_ID",
        "GROUP_ID_NOT_FOUND",
        "INVALID_COMMIT_OFFSET_SIZE",
        "UNSUPPORTED_VERSION",
    }
)
"""Errors of the protocol (by the names of Kafka's guide) that no delay mends.

Of those about the membership librdkafka takes the classic group's for a loss of all partitions, and
under KIP-848 asks the coordinator at once; either way it rejoins, and the assignment that follows
is another epoch. FENCED_INSTANCE_ID is not here: librdkafka makes it a fatal error.
"""


def remedy_for(error: str) -> Remedy:
    """Return what helps after a commit failed with the error of this name."""
    if error == "OFFSET_METADATA_TOO_LARGE":
        return Remedy.WITHOUT_NOTE
    return Remedy.NONE if error in _REFUSALS else Remedy.AGAIN


class CommitSchedule:
    """Decides when the next OffsetCommit may be sent: by interval, one in flight at a time.

    A broker answers one commit in about 6 ms (Kafka 4.1 lets the coordinator linger 5 ms), so
    a commit a record, or a queue of them, falls behind the handlers and then holds up the end.

    Args:
        interval: Seconds between two commits.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._sent_at: float | None = None
        self._failures = 0

    @property
    def in_flight(self) -> bool:
        """Whether a commit was sent that has no answer yet."""
        return self._sent_at is not None

    def backing_off(self, now: float) -> bool:
        """Return whether the last commit failed and its delay is not over."""
        return self._failures > 0 and now < self._next

    def due(self, now: float, *, idle: bool) -> bool:
        """Return whether to commit now what may be committed.

        Args:
            now: Monotonic seconds.
            idle: No handler runs and nothing is buffered. Then the interval has nothing to
                gather any more, so the commit goes out at once and the lag that others see
                is the true one; a failed commit keeps its delay.
        """
        if self._sent_at is not None and now - self._sent_at < ANSWER_TIMEOUT:
            return False
        return now >= self._next or (idle and not self._failures)

    def sent(self, now: float) -> None:
        """Record that a commit is under way."""
        self._sent_at = now
        self._next = now + self._interval

    def nothing(self, now: float) -> None:
        """Look again after an interval, as there was nothing to commit."""
        self._next = now + self._interval

    def answered(self, now: float, *, ok: bool) -> None:
        """Record the broker's answer, or that the commit could not be sent."""
        self._sent_at = None
        if ok:
            self._failures = 0
            return
        delay = min(RETRY_DELAY * 2 ** min(self._failures, 16), RETRY_DELAY_MAX)
        self._failures += 1
        self._next = now + delay


MOST_AHEAD = 5_000
"""The most records that are committed and not started, however fast their handlers are."""


class CommitAhead:
    """How many records before_processing commits at once, ahead of their handlers.

    What is committed and has not started is what a crash loses on top of what is being handled,
    so the number follows the handlers' measured speed: it is the work of ``budget`` seconds.
    The engine asks for the next window when half of it is left, so that the commit is answered
    before the handlers run dry.

    Args:
        budget: Seconds of work that a crash may lose; 0 means that only records for which a
            handler is free are committed.
        concurrency: Handlers that run at the same time.
        largest: Upper bound of ``size``; one commit takes some 6 ms, so it should cover more
            than the fastest handlers do in that time.

    Attributes:
        size: How many records may be committed and not started.
    """

    GROWTH = 2
    """The size grows at most this much at a time: one fast record promises nothing."""
    WEIGHT = 0.3
    """Weight of the newest measurement in the moving average."""

    def __init__(self, budget: float, concurrency: int, largest: int) -> None:
        self._budget = budget
        self._concurrency = concurrency
        self._largest = largest
        self._seconds: float | None = None
        self.size = 0

    def measured(self, records: int, seconds: float) -> None:
        """Take into account how long records took one handler."""
        if not records or not self._budget:
            return
        sample = seconds / records
        old = self._seconds
        self._seconds = sample if old is None else old + self.WEIGHT * (sample - old)
        # One slow record must count at once: it shows what the next window may cost.
        cost = max(self._seconds, sample)
        affordable = self._largest * cost <= self._budget * self._concurrency
        fitting = self._largest if affordable else self._budget * self._concurrency / cost
        self.size = int(min(fitting, max(self.size, 1) * self.GROWTH, self._largest))
