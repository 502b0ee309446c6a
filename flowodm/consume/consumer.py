"""A Kafka consumer that is polled by calls: its records, assignment, commits and seeks."""

from __future__ import annotations

import inspect
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flowodm.blocking import bounded
from flowodm.consume.calls import CallCancelledError
from flowodm.exceptions import ConsumerError, FencedError, TopicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Message

    from flowodm.consume.calls import Calls

TP: TypeAlias = tuple[str, int]
"""A partition: its topic and its number."""

COMMIT_TIMEOUT = 10.0
"""Seconds in which the broker has to answer a commit."""

_RETRY_INTERVAL = 0.1
"""Seconds between two attempts at a commit during a rebalance."""

_PASSING = frozenset(
    {
        KafkaError._PARTITION_EOF,  # noqa: SLF001 - the constant's public name
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 - the same
    }
)
"""Error events after which librdkafka goes on by itself."""

_REBALANCING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
"""The broker's answers to a commit until the member knows its group's new generation."""

_TOPIC_ERRORS = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED})


class UnansweredError(ConsumerError):
    """The broker has not answered a commit; the offsets may or may not be committed."""


@dataclass(slots=True)
class Uncommitted:
    """The partitions of a commit whose offsets were not committed.

    Attributes:
        refused: Partition to the reason, as a message for people.
        revoked: Partitions that the group has given to another member. A commit would undo what
            that one commits.
    """

    refused: dict[TP, str] = field(default_factory=dict)
    revoked: set[TP] = field(default_factory=set)

    def __contains__(self, tp: TP) -> bool:
        return tp in self.refused or tp in self.revoked


class PolledConsumer:
    """Asks one consumer, and turns its answers into results and errors of flowodm.

    Args:
        consumer: A consumer of confluent_kafka's kind, subscribed; or one whose methods return
            awaitables.
        name: The model's name, for the texts of errors.
        calls: Makes the calls.
    """

    def __init__(self, consumer: Any, name: str, calls: Calls) -> None:
        self._consumer = consumer
        self._name = name
        self._calls = calls
        self._is_silent = False

    def use_inner(self, calls: Calls) -> bool:
        """Ask the consumer that an AsyncConsumer wraps from now on.

        Args:
            calls: Makes the calls.

        Returns:
            Whether its methods return their answers; those of a caller's own consumer may still
            return awaitables.
        """
        self._consumer = inner_of(self._consumer)
        self._calls = calls
        return not inspect.iscoroutinefunction(self._consumer.commit)

    async def poll(self, wait: float) -> Message | None:
        """Return the next record; None if there is none within ``wait`` seconds.

        If the task is cancelled meanwhile, the next poll returns the same record.

        Raises:
            FencedError: Another member has the same ``group.instance.id``.
            TopicError: The topic does not exist, or may not be read.
            ConsumerError: The consumer cannot go on.
        """
        record: Message | None
        try:
            record = await self._ask(self._consumer.poll, wait)
        except CallCancelledError as cancelled:
            record = cancelled.answer
            if record is not None and record.error() is None:
                await self.seek({tp_of(record): offset_of(record)})
            raise
        if record is not None and (error := record.error()) is not None:
            _raise_unless_passing(error, record.topic())
            return None
        return record

    async def assignment(self) -> set[TP]:
        """Return the partitions that the group has given to this consumer."""
        places = await self._ask(self._consumer.assignment)
        return {_place(place) for place in places or ()}

    async def seek(self, offsets: dict[TP, int]) -> None:
        """Continue from these offsets.

        A partition that was revoked meanwhile is left alone: its new owner begins at the
        committed offset.
        """
        if self._is_silent:
            return
        for tp, offset in offsets.items():
            with suppress(KafkaException, ConsumerError):
                await self._ask(self._consumer.seek, TopicPartition(*tp, offset))

    async def commit(self, ends: dict[TP, int], retry_for: float = 0.0) -> Uncommitted:
        """Commit offsets; return the partitions where that was not possible.

        Args:
            ends: Partition to the offset of its next record.
            retry_for: Seconds for which a commit is tried again while the group rebalances.

        Raises:
            UnansweredError: The broker has not answered within COMMIT_TIMEOUT seconds. No further
                call to this consumer would return.
            ConsumerError: The consumer is closed.
        """
        deadline = time.monotonic() + retry_for
        uncommitted = Uncommitted()
        while True:
            errors = await self._commit_once(ends, uncommitted)
            is_last = time.monotonic() >= deadline
            retried = {}
            for tp, error in errors.items():
                if _may_pass(error) and not is_last:
                    retried[tp] = ends[tp]
                else:
                    uncommitted.refused[tp] = _refusal(tp, ends[tp], error)
            if not retried:
                return uncommitted
            ends = retried
            await self._calls.run_blocking(time.sleep, _RETRY_INTERVAL)

    async def _commit_once(
        self, ends: dict[TP, int], uncommitted: Uncommitted
    ) -> dict[TP, KafkaError]:
        """Commit the assigned ones of these offsets; return the errors of those refused."""
        if not ends:
            return {}
        revoked = ends.keys() - await self.assignment()
        uncommitted.revoked |= revoked
        places = [TopicPartition(*tp, end) for tp, end in ends.items() if tp not in revoked]
        if not places:
            return {}
        try:
            answers = await self._answers_to(places)
        except TimeoutError:
            raise self._unanswered() from None
        except KafkaException as error:
            return {_place(place): error.args[0] for place in places}
        return _errors(answers or ())

    async def _answers_to(self, places: list[TopicPartition]) -> Any:
        consumer = inner_of(self._consumer)
        if inspect.iscoroutinefunction(consumer.commit):  # a consumer of the caller's own
            return await self._ask(consumer.commit, offsets=places, asynchronous=False)
        commit = partial(consumer.commit, offsets=places, asynchronous=False)
        try:
            return await self._calls.run_blocking(bounded, commit, COMMIT_TIMEOUT)
        except RuntimeError as error:
            raise ConsumerError(f"{self._name}: {error}") from error

    def _unanswered(self) -> UnansweredError:
        """Give the consumer up: any other call would wait behind the commit, without a limit."""
        self._is_silent = True
        with suppress(AttributeError):  # the caller has to replace a consumer of its own
            inner_of(self._consumer).closed = True
        return UnansweredError(
            f"{self._name}: the broker has not answered a commit within {COMMIT_TIMEOUT:g} s; "
            "its messages may be delivered again"
        )

    async def _ask(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return await self._calls.ask_consumer(method, *args, **kwargs)
        except RuntimeError as error:
            raise ConsumerError(f"{self._name}: {error}") from error


def inner_of(consumer: Any) -> Any:
    """Return the consumer that flowodm's AsyncConsumer wraps; any other consumer itself."""
    return getattr(consumer, "consumer", consumer)


def tp_of(record: Message) -> TP:
    """Return a record's partition."""
    topic: Any = record.topic()  # never None in a record, as its partition and offset
    partition: Any = record.partition()
    return topic, partition


def offset_of(record: Message) -> int:
    """Return a record's offset."""
    offset: Any = record.offset()
    return offset  # type: ignore[no-any-return]  # never None in a record


def _place(place: TopicPartition) -> TP:
    return place.topic, place.partition


def _errors(answers: Iterable[TopicPartition]) -> dict[TP, KafkaError]:
    """Return the errors in the broker's answers to a commit."""
    errors = {}
    for answer in answers:
        if answer.error is not None:
            errors[_place(answer)] = answer.error
    return errors


def _raise_unless_passing(error: KafkaError, topic: str | None) -> None:
    if error.code() in _PASSING or (error.retriable() and not error.fatal()):
        return
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        raise FencedError(error.str())
    if error.code() in _TOPIC_ERRORS:
        raise TopicError(f"topic {topic}: {error.str()}")
    raise ConsumerError(error.str())


def _may_pass(error: KafkaError) -> bool:
    return error.retriable() or error.code() in _REBALANCING


def _refusal(tp: TP, end: int, error: KafkaError) -> str:
    return f"topic {tp[0]}, partition {tp[1]}, offset {end - 1}: not committed: {error.str()}"
