"""What a consumer loop reports while it runs.

An observer is any callable that takes one event. It is called from the loop's threads, once a
batch where something happens a record, and must neither block nor raise; an observer that
raises is logged and the loop goes on. :class:`flowodm.metrics.PrometheusObserver` is one
observer, :class:`flowodm.consumer.loop.log.Journal`, which writes the log, is another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

#: A partition: topic and number.
TP = tuple[str, int]


class LoopState(Enum):
    """Where a loop is in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Stage(Enum):
    """Where a record failed; the value is the label of ``flowodm_failures_total``."""

    FILTER = "filter"
    DESERIALIZE = "deserialize"
    HANDLER = "handler"
    ERROR_HANDLER = "error_handler"
    DEAD_LETTER = "dead_letter"
    REGISTRY = "registry"


class Outcome(Enum):
    """What became of a settled record; the value is the label of ``flowodm_messages_total``.

    A tombstone that a ``tombstone_handler`` took is PROCESSED; TOMBSTONE counts those that nobody
    wanted. LOST only exists with before_processing: the record was committed, but the loop had to
    end or to give its partition up before the handler could finish.
    """

    PROCESSED = "processed"
    ERROR_HANDLED = "error_handled"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"
    FILTERED = "filtered"
    TOMBSTONE = "tombstone"
    LOST = "lost"


class RebalanceKind(Enum):
    """How an assignment changed. LEFT: this member left because of a handler that is too slow."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The loop is in another state."""

    state: LoopState


@dataclass(frozen=True, slots=True)
class Handled:
    """Records that were settled since the last report.

    Attributes:
        topic: Their topic.
        partition: Their partition.
        outcomes: How many of them ended how.
        seconds: For each of them the time from the start of its decoding to its settlement;
            empty for records that were lost.
    """

    topic: str
    partition: int
    outcomes: dict[Outcome, int]
    seconds: list[float]


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed attempt at one record.

    Attributes:
        stage: What failed.
        topic: The record's topic.
        partition: The record's partition.
        offset: The record's offset.
        failures: How often this record has failed in a row, this time included.
        error: The exception.
        consequence: What happens next: "retry", "dead_letter", "error_handler", "skip" or "stop".
        delay: Seconds before the retry, if there is one.
    """

    stage: Stage
    topic: str
    partition: int
    offset: int
    failures: int
    error: BaseException
    consequence: str
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """The broker has acknowledged a record's copy in the dead-letter topic.

    Attributes:
        topic: The record's topic.
        partition: The record's partition.
        offset: The record's offset.
        dead_letter_topic: Where the copy is.
    """

    topic: str
    partition: int
    offset: int
    dead_letter_topic: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A handler keeps the event loop of an AsyncConsumerLoop from running anything else.

    Attributes:
        seconds: For about how long by now.
        where: The innermost line of the program, as opposed to the libraries that it calls:
            "function (module:line)".
        again: Whether this blockage has been told before and still goes on.
    """

    seconds: float
    where: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """The answer to one OffsetCommit.

    Attributes:
        offsets: What was to be committed.
        error: The broker's or the client's error; None if all of it was confirmed.
        seconds: From the request to the answer, as the loop saw it; None where nobody measured.
    """

    offsets: dict[TP, int]
    error: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """The partitions that were added to the assignment or taken from it."""

    kind: RebalanceKind
    partitions: tuple[TP, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Kafka's client reports an error that it deals with itself, such as a lost connection."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The drain deadline passed with handlers still running; their records are not committed."""

    records: int


class EndReason(Enum):
    """What made a loop end: the first cause, as later ones only hurry it."""

    STOP = "stop"
    SIGNAL = "signal"
    CANCELLED = "cancelled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over, the consumer closed. It is the last event of a run.

    Attributes:
        reason: Why it ended.
        error: What run() raises, if it raises; an error on the way out has another reason.
        drain_seconds: From the request to the end of the drain: handlers and the last commit.
    """

    reason: EndReason
    error: BaseException | None = None
    drain_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LoopStatus:
    """A snapshot of a loop, also reported once a second as an event.

    Attributes:
        state: Where the loop is in its life.
        assigned: The partitions it owns.
        joined: An assignment was received, even an empty one; false again after leaving.
        member_id: Its id in the group, from joining on (KIP-848: from the start on); None while
            there is none, and with pinned partitions.
        in_flight: Handlers that run now.
        buffered: Fetched records that are not settled, those in flight included.
        waiting: Records whose next attempt is waited for; others of their lanes wait behind them.
        paused: Partitions that are not fetched from, because they fill the buffer or the loop is
            paused.
        processed: Records handled successfully since the start of the run.
        lag: Records behind the end of the assigned partitions, as far as that is known.
        lags: The same for each partition.
        behind: Partitions that stand still, with their positions: the brokers have more of them,
            and nothing of them is in hand. Known some 15 to 30 s after a partition has moved.
            All that are not in hand, if the loop's own thread has not polled for half a minute.
        oldest_handler_seconds: For how long the slowest handler has been running by now.
        max_poll_interval_seconds: For how long a handler may run before the loop leaves its group
            (max.poll.interval.ms); infinite with pinned partitions, 0 before the loop runs.
    """

    state: LoopState
    assigned: tuple[TP, ...] = ()
    joined: bool = False
    member_id: str | None = None
    in_flight: int = 0
    buffered: int = 0
    waiting: int = 0
    paused: int = 0
    processed: int = 0
    lag: int | None = None
    lags: tuple[tuple[TP, int], ...] = ()
    behind: tuple[tuple[TP, int], ...] = ()
    oldest_handler_seconds: float = 0.0
    max_poll_interval_seconds: float = 0.0


Event = (
    StateChanged
    | Handled
    | Failed
    | DeadLettered
    | Blocked
    | Committed
    | Rebalanced
    | Trouble
    | Abandoned
    | Ended
    | LoopStatus
)
Observer = Callable[[Event], None]
