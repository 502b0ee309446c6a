"""The events of a consumer loop.

An observer is a callable that takes one event. The loop calls it from its threads, once a batch
for what happens to each record. It must not block or raise; if it raises, the loop logs that and
goes on. :class:`flowodm.metrics.PrometheusObserver` is one
observer, :class:`flowodm.consumer.loop.log.LogObserver`, which writes the log, is another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

TP = tuple[str, int]
"""A partition: its topic and its number."""


class LoopState(Enum):
    """The state of a loop."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Stage(Enum):
    """The stage at which a record failed; the label of ``flowodm_failures_total``."""

    FILTER = "filter"
    DESERIALIZE = "deserialize"
    HANDLER = "handler"
    ERROR_HANDLER = "error_handler"
    DEAD_LETTER = "dead_letter"
    REGISTRY = "registry"


class Outcome(Enum):
    """How a record was settled; the label of ``flowodm_messages_total``.

    A tombstone that a ``tombstone_handler`` handled is PROCESSED; without such a handler it is a
    TOMBSTONE. LOST only exists with before_processing: the record was committed, but the loop
    ended or lost the partition before the handler had finished.
    """

    PROCESSED = "processed"
    ERROR_HANDLED = "error_handled"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"
    FILTERED = "filtered"
    TOMBSTONE = "tombstone"
    LOST = "lost"


class RebalanceKind(Enum):
    """How an assignment changed. LEFT: this member left its group because of a slow handler."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The loop has changed its state."""

    state: LoopState


@dataclass(frozen=True, slots=True)
class Handled:
    """Records were settled.

    Attributes:
        topic: Their topic.
        partition: Their partition.
        outcomes: The number of records by outcome.
        seconds: The time of each record from the start of its decoding to its settlement; empty
            for lost records.
    """

    topic: str
    partition: int
    outcomes: dict[Outcome, int]
    seconds: list[float]


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt at a record has failed.

    Attributes:
        stage: What failed.
        topic: The record's topic.
        partition: The record's partition.
        offset: The record's offset.
        failures: The number of failures of this record in a row, this one included.
        error: The exception.
        consequence: The next step: "retry", "dead_letter", "error_handler", "skip" or "stop".
        delay: Seconds before the retry; None if there is none.
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
        dead_letter_topic: The topic of the copy.
    """

    topic: str
    partition: int
    offset: int
    dead_letter_topic: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A handler blocks the event loop of an AsyncConsumerLoop.

    Attributes:
        seconds: For about how long so far.
        where: The innermost line of the program, not of the libraries that it calls:
            "function (module:line)".
        again: Whether an earlier event has reported the same blockage.
    """

    seconds: float
    where: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """The answer to an OffsetCommit request.

    Attributes:
        offsets: The offsets in the request.
        error: The broker's or the client's error; None if all offsets were committed.
        seconds: The time from the request to the answer, as the loop saw it; None if it was not
            measured.
    """

    offsets: dict[TP, int]
    error: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """Partitions were added to the assignment, or taken from it."""

    kind: RebalanceKind
    partitions: tuple[TP, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """The Kafka client reports an error that it handles itself, such as a lost connection."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Handlers were still running at the drain deadline; their records are not committed."""

    records: int


class EndReason(Enum):
    """The first cause of a loop's end; later ones only speed it up."""

    STOP = "stop"
    SIGNAL = "signal"
    CANCELLED = "cancelled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over and the consumer closed. It is the last event of a run.

    Attributes:
        reason: Why the run ended.
        error: The exception that run() raises. If it happened during the shutdown, ``reason`` is
            not ERROR.
        drain_seconds: The time from the stop request to the end of the drain: until the handlers
            have finished and the last commit is answered.
    """

    reason: EndReason
    error: BaseException | None = None
    drain_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LoopStatus:
    """A snapshot of a loop; the loop also reports it once a second as an event.

    Attributes:
        state: The loop's state.
        assigned: The assigned partitions.
        joined: Whether the loop has an assignment, even an empty one.
        member_id: The member id in the group, once the loop has joined (KIP-848: once it has
            started); None before that, and with pinned partitions.
        in_flight: Handlers that are running.
        buffered: Fetched records that are not settled, including those in flight.
        waiting: Records that wait for a retry; other records of their lanes wait behind them.
        paused: Partitions that are not fetched from, because their records fill the buffer or
            the loop is paused.
        processed: Records that were handled successfully since the start of the run.
        lag: Records behind the end of the assigned partitions, as far as it is known.
        lags: The same for each partition.
        behind: Partitions that stand still, with their positions: the brokers have more records,
            but the loop has none of them. A partition is listed 15 to 30 s after it has stopped;
            if the loop's own thread has not polled for half a minute, all partitions without
            records in the loop are listed.
        oldest_handler_seconds: For how long the slowest handler has been running.
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
