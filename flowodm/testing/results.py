"""The result of a loop's run over given records."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from flowodm.consumer.dead_letters.headers import DeadLetter
from flowodm.events import DeadLettered, Failed, Outcome

if TYPE_CHECKING:
    from flowodm.events import Event
    from flowodm.testing.memory.kafka import InMemoryKafka
    from flowodm.testing.memory.message import MemoryMessage

_Place: TypeAlias = tuple[int, int]
"""A record's partition and offset."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of the handler for one record; a batch has one attempt for each of its records.

    Attributes:
        message: The handler's argument; None for a tombstone.
        partition: The record's partition.
        offset: The record's offset.
        number: 1 for the first attempt at this record, 2 for the first retry, and so on.
        error: The exception of the handler; None if it returned.
    """

    message: Any
    partition: int
    offset: int
    number: int
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """One record and its outcome.

    Attributes:
        record: The record, with the methods of confluent_kafka.Message.
        outcome: How it was settled; None if it was not.
        attempts: The handler's attempts at it.
        errors: The errors of all its failures, in the order in which they happened.
    """

    record: MemoryMessage
    outcome: Outcome | None
    attempts: tuple[Attempt, ...]
    errors: tuple[BaseException, ...]


@dataclass(frozen=True, slots=True)
class LoopResult:
    """The result of a run; see :func:`flowodm.testing.run_loop`.

    Attributes:
        kafka: The in-memory Kafka, as the loop left it.
        fates: The given records with their outcomes, in their order.
        attempts: Every call of the handler, in the order in which they ended.
        events: The loop's events.
        committed: Partition to committed offset.
        dead_letters: The dead letters in the loop's dead-letter topic.
        produced: The records that came into other topics during the run, in their order.
        error: The expected exception of run(); None if it returned.
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
        """The outcome of each given record, in their order; None: it was not settled."""
        return [fate.outcome for fate in self.fates]

    @property
    def handled(self) -> list[Any]:
        """The messages for which the handler returned, in that order."""
        return [attempt.message for attempt in self.attempts if attempt.error is None]

    @property
    def retried(self) -> list[Any]:
        """The messages of all attempts that were retries, in their order."""
        return [attempt.message for attempt in self.attempts if attempt.number > 1]

    @property
    def failures(self) -> list[Failed]:
        """The events of failed attempts."""
        return [event for event in self.events if isinstance(event, Failed)]


def fates_of(
    records: list[MemoryMessage],
    attempts: list[Attempt],
    events: list[Event],
    committed: dict[int, int],
    *,
    filtered: bool,
) -> tuple[Fate, ...]:
    """Work out each record's outcome from attempts, events and committed offsets.

    Args:
        records: The given records, in their order.
        attempts: The handler's attempts.
        events: The loop's events.
        committed: Partition to committed offset.
        filtered: Whether the loop has a header filter.
    """
    traces = _Traces(attempts, events)
    fates = []
    for record in records:
        place = (record.partition(), record.offset())
        outcome = traces.outcome_of(place)
        is_committed = record.offset() < committed.get(record.partition(), 0)
        if outcome is None and is_committed:
            outcome = traces.silent_outcome_of(place, record, filtered=filtered)
        errors = tuple(failure.error for failure in traces.failures[place])
        fates.append(Fate(record, outcome, tuple(traces.attempts[place]), errors=errors))
    return tuple(fates)


class _Traces:
    """Attempts and events of a run, by the record's partition and offset."""

    def __init__(self, attempts: list[Attempt], events: list[Event]) -> None:
        self.attempts: dict[_Place, list[Attempt]] = defaultdict(list)
        self.failures: dict[_Place, list[Failed]] = defaultdict(list)
        self._dead_lettered: set[_Place] = set()
        for attempt in attempts:
            self.attempts[attempt.partition, attempt.offset].append(attempt)
        for event in events:
            if isinstance(event, Failed):
                self.failures[event.partition, event.offset].append(event)
            elif isinstance(event, DeadLettered):
                self._dead_lettered.add((event.partition, event.offset))

    def outcome_of(self, place: _Place) -> Outcome | None:
        """Return a record's outcome as its attempts and failures show it; None if they do not."""
        if any(attempt.error is None for attempt in self.attempts[place]):
            return Outcome.PROCESSED
        failures = self.failures[place]
        consequence = failures[-1].consequence if failures else ""
        # "stop" after a dead letter: the error handler of the dead letter has failed.
        if place in self._dead_lettered and consequence != "stop":
            return Outcome.DEAD_LETTERED
        return {"skip": Outcome.SKIPPED, "error_handler": Outcome.ERROR_HANDLED}.get(consequence)

    def silent_outcome_of(self, place: _Place, record: MemoryMessage, *, filtered: bool) -> Outcome:
        """Return the outcome of a record that was committed, but not settled by an attempt."""
        if self.attempts[place] or self.failures[place]:
            return Outcome.LOST
        if record.value() is None:
            return Outcome.TOMBSTONE
        return Outcome.FILTERED if filtered else Outcome.LOST


def dead_letters_of(kafka: InMemoryKafka, topic: str | None) -> tuple[DeadLetter, ...]:
    """Return the dead letters in a topic; none without a topic."""
    if topic is None:
        return ()
    return tuple(DeadLetter.of(message) for message in kafka.records(topic))
