"""Taking messages from a consumer that somebody else drives: what to ask it, and when to commit.

Everything that may block is *yielded* as an :class:`~flowodm.blocking.Ask`, and answered in a
thread or on an event loop; see :mod:`flowodm.blocking`. So the rules stand here once: a message
is committed only if it was handed out, and what was taken but not handed out comes again.
"""

from __future__ import annotations

import inspect
import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from pydantic import BaseModel

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.blocking import Ask, GivenUpError, bounded
from flowodm.exceptions import (
    ConsumerError,
    DeserializationError,
    FencedError,
    FlowODMError,
    TopicError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from flowodm.blocking import Steps
    from flowodm.serialization.codecs import ValueCodec

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
TP: TypeAlias = tuple[str, int]

JOIN_TIMEOUT = 30.0
"""Seconds that an iteration waits for its partitions, on top of its time-out."""

FIRST_FETCH = 1.0
"""Seconds that the first message after joining gets, however short the time-out is."""

COMMIT_PATIENCE = 5.0
"""Seconds for which a commit is tried again while the group rebalances."""

COMMIT_TIMEOUT = 10.0
"""Seconds in which a broker has to answer a commit."""

COMMIT_INTERVAL = 1.0
"""Seconds between two commits of an iteration."""

# The longest single wait: how long a cancelled task, or Ctrl-C, waits for the poll to return.
_SLICE = 0.1

# librdkafka goes on by itself after these.
_PASSING = frozenset(
    {
        KafkaError._PARTITION_EOF,  # noqa: SLF001 - the constant's public name
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 - the same
    }
)
# What a commit is answered with until the member knows of its group's new generation.
_REBALANCING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
_TOPIC_ERRORS = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED})


class Poison(Enum):
    """What becomes of a record that cannot be read."""

    RAISE = "raise"
    SKIP = "skip"


class UnansweredError(ConsumerError):
    """Nobody knows whether an offset was committed."""


@dataclass(frozen=True, slots=True)
class _Taken(Generic[M]):
    tp: TP
    offset: int
    message: M


class Taking(Generic[M]):
    """Takes messages of one model from one consumer. One driver at a time.

    Args:
        consumer: A consumer of confluent_kafka's kind, subscribed; or one whose methods return
            awaitables.
        codec: Reads the values.
        poison: What becomes of records that cannot be read.
    """

    def __init__(self, consumer: Any, codec: ValueCodec[M], poison: Poison) -> None:
        self._consumer = consumer
        self._codec = codec
        self._poison = poison
        self._joined = False
        self._dead = False
        self._given: tuple[TP, int] | None = None
        self._handled: dict[TP, int] = {}  # where each partition's handled messages end
        self._commit_at = time.monotonic() + COMMIT_INTERVAL

    def turn_to(self, consumer: Any) -> bool:
        """Go on with what an asynchronous consumer wraps; False if that cannot be asked either."""
        self._consumer = consumer
        return not inspect.iscoroutinefunction(consumer.commit)

    # ---- several at once, committed before they are handed out ---------------------------

    def batch(self, size: int, timeout: float) -> Steps[list[M]]:
        """At most ``size`` messages that come within ``timeout`` seconds, committed.

        A failure behind a message ends the batch in front of it; the record that failed comes
        first in the next one.
        """
        deadline = time.monotonic() + timeout
        while True:
            taken: list[_Taken[M]] = []
            try:
                yield from self._fill(taken, size, deadline)
                messages = yield from self._settled(taken)
            except GeneratorExit:
                raise  # nobody answers any more
            except BaseException:
                yield from self._rewind(taken)
                raise
            if messages or not size or time.monotonic() >= deadline:
                return messages

    def _fill(self, taken: list[_Taken[M]], size: int, deadline: float) -> Steps[None]:
        only_what_is_there = deadline <= time.monotonic()
        while len(taken) < size:
            wait = deadline - time.monotonic()
            if wait <= 0 and not only_what_is_there:
                return
            record = yield from self._poll(min(max(wait, 0.0), _SLICE))
            if record is None:
                if only_what_is_there:
                    return
                continue
            try:
                message = yield from self._read_or_go_back(record)
            except FlowODMError as error:
                if not taken:
                    raise
                if isinstance(error, DeserializationError):
                    yield from self._seek({_tp(record): _offset(record)})
                return
            if message is not None:
                taken.append(_Taken(_tp(record), _offset(record), message))

    def _settled(self, taken: list[_Taken[M]]) -> Steps[list[M]]:
        """Commit, and tell which messages may be handed out."""
        try:
            ends = {each.tp: each.offset + 1 for each in taken}
            left_out = yield from self._commit(ends, COMMIT_PATIENCE)
        except UnansweredError as error:
            # Not to be lost, if it was committed after all.
            _log.error("%s", error)
            return [each.message for each in taken]
        except GivenUpError:
            # It may have been committed, and nobody gets it: that is taken back.
            with suppress(KafkaException, ConsumerError):
                yield from self._commit(_firsts(taken))
            raise
        kept = [each.message for each in taken if each.tp not in left_out]
        reasons = [reason for reason in left_out.values() if reason is not None]
        if reasons and not kept:
            raise ConsumerError(reasons[0])
        for reason in reasons:
            _log.error("%s; its messages come again", reason)
        if left_out:
            yield from self._rewind([each for each in taken if each.tp in left_out])
        return kept

    # ---- one after the other, committed when the next one is asked for -------------------

    def next(self, timeout: float | None) -> Steps[M | None]:
        """The next message; None if none comes within ``timeout`` seconds.

        As long as the group has given it no partitions, it waits JOIN_TIMEOUT more, and then at
        least FIRST_FETCH.

        Args:
            timeout: Seconds; None: no limit.
        """
        wait = math.inf if timeout is None else timeout
        deadline = time.monotonic() + wait + (0.0 if self._joined else JOIN_TIMEOUT)
        while True:
            yield from self._commit_now_and_then()
            record = yield from self._poll(min(max(deadline - time.monotonic(), 0.0), _SLICE))
            if record is not None:
                self._joined = True
                message = yield from self._read_or_go_back(record)
                if message is not None:
                    self._given = _tp(record), _offset(record) + 1
                    return message
            if not self._joined and (yield from self._assignment()):
                self._joined = True
                deadline = time.monotonic() + max(wait, FIRST_FETCH)
            if time.monotonic() >= deadline:
                return None

    def accept(self) -> None:
        """The message that was handed out last has been handled."""
        if self._given is not None:
            tp, end = self._given
            self._handled[tp] = end
            self._given = None

    def _commit_now_and_then(self) -> Steps[None]:
        """Commit what was handled, if the last time is COMMIT_INTERVAL ago."""
        if self._handled and time.monotonic() >= self._commit_at:
            left_out = yield from self._commit(self._handled)
            # What is refused now may be accepted next time; what is another member's may not.
            self._handled = {tp: self._handled[tp] for tp, why in left_out.items() if why}
            self._commit_at = time.monotonic() + COMMIT_INTERVAL
            for reason in filter(None, left_out.values()):
                _log.warning("%s; tried again in %g s", reason, COMMIT_INTERVAL)

    def end(self) -> Steps[None]:
        """Commit what was handled, and go back to what was not.

        Raises:
            ConsumerError: It was not committed.
        """
        left_out = yield from self._commit(self._handled, COMMIT_PATIENCE)
        self._handled = {}
        if self._given is not None:
            tp, end = self._given
            yield from self._seek({tp: end - 1})
        for reason in filter(None, left_out.values()):
            raise ConsumerError(reason)

    # ---- what the consumer is asked ------------------------------------------------------

    def _poll(self, wait: float) -> Steps[Message | None]:
        record: Message | None
        try:
            record = yield from self._ask(self._consumer.poll, wait)
        except GivenUpError as given_up:
            record = given_up.answer
            if record is not None and record.error() is None:
                yield from self._seek({_tp(record): _offset(record)})
            raise
        if record is not None and (error := record.error()) is not None:
            _raise_unless_passing(error, record.topic())
            return None
        return record

    def _read(self, record: Message) -> Steps[M | None]:
        """The record's message; None where it is a tombstone, or is to be passed over."""
        value: Any = record.value()
        if value is None:
            return None
        try:
            try:
                return self._codec.decode(value)
            except SchemaNotLoadedError as missing:
                schema_id = missing.schema_id
            yield Ask(self._codec.load_schema, (schema_id,), of_consumer=False)
            return self._codec.decode(value)
        except DeserializationError as error:
            (error.topic, error.partition), error.offset = _tp(record), _offset(record)
            if self._poison is Poison.RAISE:
                raise
            _log.error("skipped: %s", error)
            return None

    def _read_or_go_back(self, record: Message) -> Steps[M | None]:
        """As _read; where nothing is wrong with the record itself, it comes again."""
        try:
            return (yield from self._read(record))
        except (DeserializationError, GeneratorExit):
            raise
        except BaseException:
            yield from self._seek({_tp(record): _offset(record)})
            raise

    def _commit(self, ends: dict[TP, int], patience: float = 0.0) -> Steps[dict[TP, str | None]]:
        """Commit these offsets; tells which partitions are left out, and why.

        None is the reason where the group has given a partition to another member: what that
        one commits must not be undone. While the group rebalances, the broker refuses for a
        while; it is asked again for so many seconds.
        """
        deadline = time.monotonic() + patience
        left_out: dict[TP, str | None] = {}
        while ends:
            refused = yield from self._commit_once(ends)
            passing = time.monotonic() < deadline
            again = {}
            for tp, error in refused.items():
                if passing and error is not None and _may_pass(error):
                    again[tp] = ends[tp]
                else:
                    left_out[tp] = None if error is None else _uncommitted(tp, ends[tp], error)
            ends = again
            if ends:
                yield Ask(time.sleep, (_SLICE,), of_consumer=False)
        return left_out

    def _commit_once(self, ends: dict[TP, int]) -> Steps[dict[TP, KafkaError | None]]:
        mine = yield from self._assignment()
        refused: dict[TP, KafkaError | None] = {tp: None for tp in ends if tp not in mine}
        places = [TopicPartition(*tp, end) for tp, end in ends.items() if tp in mine]
        if not places:
            return refused
        try:
            answers = yield from self._answers_to(places)
        except TimeoutError:
            # No other call comes through any more: librdkafka waits without a limit.
            self._dead = True
            with suppress(AttributeError):  # of the caller's own, who has to replace it
                inner_of(self._consumer).closed = True
            raise UnansweredError(
                f"{self._codec.model.__name__}: the broker has not answered a commit within "
                f"{COMMIT_TIMEOUT:g} s; its messages may come again"
            ) from None
        except KafkaException as error:
            return refused | {_place(place): error.args[0] for place in places}
        failed = {_place(place): place.error for place in answers or () if place.error is not None}
        return refused | failed

    def _answers_to(self, places: list[TopicPartition]) -> Steps[Any]:
        consumer = inner_of(self._consumer)
        if inspect.iscoroutinefunction(consumer.commit):  # of the caller's own
            commit = consumer.commit
            return (yield from self._ask(commit, offsets=places, asynchronous=False))
        commit = partial(consumer.commit, offsets=places, asynchronous=False)
        try:
            return (yield Ask(bounded, (commit, COMMIT_TIMEOUT), of_consumer=False))
        except RuntimeError as error:
            raise ConsumerError(f"{self._codec.model.__name__}: {error}") from error

    def _assignment(self) -> Steps[set[TP]]:
        places = yield from self._ask(self._consumer.assignment)
        return {_place(place) for place in places or ()}

    def _rewind(self, taken: list[_Taken[M]]) -> Steps[None]:
        yield from self._seek(_firsts(taken))

    def _seek(self, places: dict[TP, int]) -> Steps[None]:
        for tp, offset in () if self._dead else places.items():
            # If the partition was taken away meanwhile there is nowhere to seek, and whoever
            # has it now begins at the last commit.
            with suppress(KafkaException, ConsumerError):
                yield from self._ask(self._consumer.seek, TopicPartition(*tp, offset))

    def _ask(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Steps[Any]:
        try:
            return (yield Ask(function, arguments, tuple(options.items())))
        except RuntimeError as error:
            raise ConsumerError(f"{self._codec.model.__name__}: {error}") from error


def inner_of(consumer: Any) -> Any:
    """What flowodm's own consumer for coroutines wraps; any other consumer itself."""
    return getattr(consumer, "consumer", consumer)


def _firsts(taken: list[_Taken[Any]]) -> dict[TP, int]:
    """Where each partition's messages begin."""
    return {each.tp: each.offset for each in reversed(taken)}


def _raise_unless_passing(error: KafkaError, topic: str | None) -> None:
    if error.code() in _PASSING or (error.retriable() and not error.fatal()):
        return
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        raise FencedError(error.str())
    if error.code() in _TOPIC_ERRORS:
        raise TopicError(f"topic {topic}: {error.str()}")
    raise ConsumerError(error.str())


def _tp(record: Message) -> TP:
    topic: Any = record.topic()  # known in a record, as its partition and offset are
    partition: Any = record.partition()
    return topic, partition


def _offset(record: Message) -> int:
    offset: Any = record.offset()
    return offset  # type: ignore[no-any-return]  # as above


def _place(place: TopicPartition) -> TP:
    return place.topic, place.partition


def _uncommitted(tp: TP, end: int, error: KafkaError) -> str:
    return f"topic {tp[0]}, partition {tp[1]}, offset {end - 1}: not committed: {error.str()}"


def _may_pass(error: KafkaError) -> bool:
    return error.retriable() or error.code() in _REBALANCING
