"""What became of the records that a loop was driven over."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowodm.consumer.dead_letters.headers import DeadLetter
from flowodm.events import DeadLettered, Failed, Outcome

if TYPE_CHECKING:
    from flowodm.events import Event
    from flowodm.testing.memory.kafka import InMemoryKafka
    from flowodm.testing.memory.message import MemoryMessage


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of the handler for one record; that of a batch counts for each of its records.

    Attributes:
        message: What the handler got; None for a tombstone.
        partition: The record's partition.
        offset: The record's offset.
        number: 1 for the first attempt at this record, 2 for the first retry, and so on.
        error: What the handler raised.
    """

    message: Any
    partition: int
    offset: int
    number: int
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """One record, and what became of it.

    Attributes:
        record: As Kafka has it, with the methods of confluent_kafka.Message.
        outcome: How it was settled; None if it was not.
        attempts: The handler's attempts at it.
        errors: What failed, attempts and anything else, in that order.
    """

    record: MemoryMessage
    outcome: Outcome | None
    attempts: tuple[Attempt, ...]
    errors: tuple[BaseException, ...]


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What a loop did; see :func:`flowodm.testing.run_loop`.

    Attributes:
        kafka: The in-memory Kafka, as the loop has left it.
        fates: What became of each record that was given, in their order.
        attempts: Every call of the handler, in the order in which they ended.
        events: What the loop told its observers.
        committed: Partition to committed offset.
        dead_letters: What is in the dead-letter topic, if the loop has one.
        produced: What came into any other topic during the run, in its order.
        error: What run() raised, where that was expected.
    """

    kafka: InMemoryKafka = field(repr=False)
    fates: tuple[Fate, ...]
    attempts: tuple[Attempt, ...]
    events: tuple[Event, ...] = field(repr=False)
    committed: dict[int, int]
    dead_letters: tuple[DeadLetter, ...] = ()
    produced: tuple[MemoryMessage, ...] = ()
    error: BaseException | None = None

    @property
    def outcomes(self) -> list[Outcome | None]:
        """How each given record was settled, in their order; None: it was not."""
        return [fate.outcome for fate in self.fates]

    @property
    def handled(self) -> list[Any]:
        """The messages that the handler was done with, in that order."""
        return [attempt.message for attempt in self.attempts if attempt.error is None]

    @property
    def retried(self) -> list[Any]:
        """The messages of all further attempts at a record, in their order."""
        return [attempt.message for attempt in self.attempts if attempt.number > 1]

    @property
    def failures(self) -> list[Failed]:
        """What failed, and what followed."""
        return [event for event in self.events if isinstance(event, Failed)]


def fates_of(
    records: list[MemoryMessage],
    attempts: list[Attempt],
    events: list[Event],
    committed: dict[int, int],
    *,
    filtered: bool,
) -> tuple[Fate, ...]:
    """Put together what attempts, events and offsets say of each record.

    Args:
        records: In the order in which they were given.
        attempts: Of the handlers.
        events: Of the loop.
        committed: Partition to offset.
        filtered: Whether the loop has a header filter.
    """
    tried, failed = defaultdict(list), defaultdict(list)
    for attempt in attempts:
        tried[attempt.partition, attempt.offset].append(attempt)
    for event in events:
        if isinstance(event, Failed):
            failed[event.partition, event.offset].append(event)
    buried = {(e.partition, e.offset) for e in events if isinstance(e, DeadLettered)}
    fates = []
    for record in records:
        partition, offset = place = (record.partition(), record.offset())
        own, failures = tuple(tried[place]), failed[place]
        outcome = _told(own, failures, place in buried)
        if outcome is None and offset < committed.get(partition, 0):
            outcome = _without_a_trace(record, bool(own or failures), filtered)
        fates.append(Fate(record, outcome, own, tuple(failure.error for failure in failures)))
    return tuple(fates)


def _told(attempts: tuple[Attempt, ...], failures: list[Failed], buried: bool) -> Outcome | None:
    """How a record was settled, as attempts and failures tell."""
    if any(attempt.error is None for attempt in attempts):
        return Outcome.PROCESSED
    last = failures[-1].consequence if failures else ""
    if buried and last != "stop":  # after the dead letter its error handler has failed
        return Outcome.DEAD_LETTERED
    return {"skip": Outcome.SKIPPED, "error_handler": Outcome.ERROR_HANDLED}.get(last)


def _without_a_trace(record: MemoryMessage, tried: bool, filtered: bool) -> Outcome:
    """Of a record that is committed, and of which nobody has said how it was settled."""
    if tried:
        return Outcome.LOST
    if record.value() is None:
        return Outcome.TOMBSTONE
    return Outcome.FILTERED if filtered else Outcome.LOST


def dead_letters_of(kafka: InMemoryKafka, topic: str | None) -> tuple[DeadLetter, ...]:
    """What is in a dead-letter topic."""
    return tuple(DeadLetter.of(message) for message in kafka.records(topic)) if topic else ()
