"""Taking messages without a loop: what is read, when it is committed, and what is read again.

A message is committed only if it was handed out; what was taken but not handed out is read again.
Every call that may block is made through :class:`~flowodm.consume.calls.Calls`, so that these
rules stand here once, for threads and for event loops.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from confluent_kafka import KafkaException
from pydantic import BaseModel

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.consume.calls import CallCancelledError, ThreadCalls
from flowodm.consume.consumer import PolledConsumer, UnansweredError, offset_of, tp_of
from flowodm.exceptions import ConsumerError, DeserializationError, FlowODMError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Message

    from flowodm.consume.calls import Calls
    from flowodm.consume.consumer import TP, Uncommitted
    from flowodm.serialization.codecs import ValueCodec

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

JOIN_TIMEOUT = 30.0
"""Seconds that an iteration waits for its assignment, in addition to its own time-out."""

FIRST_FETCH = 1.0
"""Seconds to wait for the first message after joining, however short the time-out is."""

COMMIT_RETRY_SECONDS = 5.0
"""Seconds for which a commit is tried again while the group rebalances."""

COMMIT_INTERVAL = 1.0
"""Seconds between two commits of an iteration."""

_POLL_SLICE = 0.1
"""Seconds of one poll; a cancelled task and Ctrl-C wait for it to return."""


class Poison(Enum):
    """What to do with a record that cannot be read."""

    RAISE = "raise"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class _Taken(Generic[M]):
    tp: TP
    offset: int
    message: M


class Taking(Generic[M]):
    """Takes messages of one model from one consumer; used by one thread or task at a time.

    Args:
        consumer: A consumer of confluent_kafka's kind, subscribed; or one whose methods return
            awaitables.
        codec: Reads the values.
        poison: What to do with records that cannot be read.
        calls: Makes the calls that may block.
    """

    def __init__(self, consumer: Any, codec: ValueCodec[M], poison: Poison, calls: Calls) -> None:
        self._codec = codec
        self._poison = poison
        self._calls = calls
        self._consumer = PolledConsumer(consumer, codec.model.__name__, calls)
        self._is_joined = False
        self._handed_out: tuple[TP, int] | None = None
        self._handled: dict[TP, int] = {}  # partition to the offset behind its handled messages
        self._next_commit = time.monotonic() + COMMIT_INTERVAL

    def use_inner_consumer(self) -> bool:
        """Go on in the calling thread; False if the consumer is an asynchronous one throughout."""
        self._calls = ThreadCalls()
        return self._consumer.use_inner(self._calls)

    # ---- a batch, committed before it is handed out --------------------------------------

    async def batch(self, size: int, timeout: float) -> list[M]:  # noqa: ASYNC109 - its end is no error
        """Take messages and commit them.

        A record that fails behind a message ends the batch in front of it; the next batch begins
        with it.

        Args:
            size: The number of messages at most.
            timeout: Seconds to wait for them; 0: take what has been fetched.
        """
        deadline = time.monotonic() + timeout
        while True:
            taken: list[_Taken[M]] = []
            try:
                await self._fill(taken, size, deadline)
                messages = await self._commit_batch(taken)
            except GeneratorExit:
                raise  # the coroutine is being closed and can await nothing
            except BaseException:
                await self._consumer.seek(_first_offsets(taken))
                raise
            if messages or not size or time.monotonic() >= deadline:
                return messages

    async def _fill(self, taken: list[_Taken[M]], size: int, deadline: float) -> None:
        only_fetched = deadline <= time.monotonic()
        while len(taken) < size:
            wait = deadline - time.monotonic()
            if wait <= 0 and not only_fetched:
                return
            record = await self._consumer.poll(min(max(wait, 0.0), _POLL_SLICE))
            if record is not None:
                if not await self._take(record, taken):
                    return
            elif only_fetched:
                return

    async def _take(self, record: Message, taken: list[_Taken[M]]) -> bool:
        """Add a record's message to a batch; False: the batch ends in front of the record."""
        try:
            message = await self._read_or_seek_back(record)
        except FlowODMError as error:
            if not taken:
                raise
            if isinstance(error, DeserializationError):
                await self._consumer.seek({tp_of(record): offset_of(record)})
            return False
        if message is not None:
            taken.append(_Taken(tp_of(record), offset_of(record), message))
        return True

    async def _commit_batch(self, taken: list[_Taken[M]]) -> list[M]:
        """Commit a batch; return the messages that may be handed out."""
        ends = {each.tp: each.offset + 1 for each in taken}
        try:
            uncommitted = await self._consumer.commit(ends, COMMIT_RETRY_SECONDS)
        except UnansweredError as error:
            # They may be committed: a message that is not handed out now might be lost.
            _log.error("%s", error)
            return [each.message for each in taken]
        except CallCancelledError:
            # They may be committed although nobody gets them: commit their beginnings instead.
            with suppress(KafkaException, ConsumerError):
                await self._consumer.commit(_first_offsets(taken))
            raise
        return await self._give_back_uncommitted(taken, uncommitted)

    async def _give_back_uncommitted(
        self, taken: list[_Taken[M]], uncommitted: Uncommitted
    ) -> list[M]:
        """Seek back where a batch was not committed; return the messages of the rest.

        Raises:
            ConsumerError: Nothing of it was committed, and a commit was refused.
        """
        committed = [each.message for each in taken if each.tp not in uncommitted]
        reasons = list(uncommitted.refused.values())
        if reasons and not committed:
            raise ConsumerError(reasons[0])
        for reason in reasons:
            _log.error("%s; its messages are read again", reason)
        await self._consumer.seek(_first_offsets(each for each in taken if each.tp in uncommitted))
        return committed

    # ---- one message after the other, committed when the next one is asked for -----------

    async def next(self, timeout: float | None) -> M | None:  # noqa: ASYNC109 - its end is no error
        """Return the next message; None if there is none in time.

        Until the consumer has an assignment, this waits JOIN_TIMEOUT longer, and then for at
        least FIRST_FETCH.

        Args:
            timeout: Seconds to wait; None: no limit.
        """
        wait = math.inf if timeout is None else timeout
        deadline = time.monotonic() + wait + (0.0 if self._is_joined else JOIN_TIMEOUT)
        while True:
            await self._commit_if_due()
            remaining = max(deadline - time.monotonic(), 0.0)
            record = await self._consumer.poll(min(remaining, _POLL_SLICE))
            if record is not None:
                self._is_joined = True
                message = await self._read_or_seek_back(record)
                if message is not None:
                    self._handed_out = tp_of(record), offset_of(record) + 1
                    return message
            if not self._is_joined and await self._consumer.assignment():
                self._is_joined = True
                deadline = time.monotonic() + max(wait, FIRST_FETCH)
            if time.monotonic() >= deadline:
                return None

    def accept(self) -> None:
        """Count the message that was handed out last as handled."""
        if self._handed_out is not None:
            tp, end = self._handed_out
            self._handled[tp] = end
            self._handed_out = None

    async def _commit_if_due(self) -> None:
        """Commit what was handled, if the last commit is COMMIT_INTERVAL ago."""
        if not self._handled or time.monotonic() < self._next_commit:
            return
        uncommitted = await self._consumer.commit(self._handled)
        # A refused commit may be accepted next time; revoked partitions have another owner.
        self._handled = {tp: self._handled[tp] for tp in uncommitted.refused}
        self._next_commit = time.monotonic() + COMMIT_INTERVAL
        for reason in uncommitted.refused.values():
            _log.warning("%s; trying again in %g s", reason, COMMIT_INTERVAL)

    async def end(self) -> None:
        """Commit what was handled, and seek back to what was not.

        Raises:
            ConsumerError: The commit was refused.
        """
        uncommitted = await self._consumer.commit(self._handled, COMMIT_RETRY_SECONDS)
        self._handled = {}
        if self._handed_out is not None:
            tp, end = self._handed_out
            await self._consumer.seek({tp: end - 1})
        for reason in uncommitted.refused.values():
            raise ConsumerError(reason)

    # ---- reading -------------------------------------------------------------------------

    async def _read(self, record: Message) -> M | None:
        """Decode a record; None if it is a tombstone, or unreadable and to be skipped."""
        value: Any = record.value()
        if value is None:
            return None
        try:
            return await self._decoded(value)
        except DeserializationError as error:
            (error.topic, error.partition), error.offset = tp_of(record), offset_of(record)
            if self._poison is Poison.RAISE:
                raise
            _log.error("skipped a record: %s", error)
            return None

    async def _decoded(self, value: bytes) -> M:
        try:
            return self._codec.decode(value)
        except SchemaNotLoadedError as missing:
            schema_id = missing.schema_id
        await self._calls.run_blocking(self._codec.load_schema, schema_id)
        return self._codec.decode(value)

    async def _read_or_seek_back(self, record: Message) -> M | None:
        """Decode a record; if that fails through no fault of the record, read it again."""
        try:
            return await self._read(record)
        except (DeserializationError, GeneratorExit):
            raise
        except BaseException:
            await self._consumer.seek({tp_of(record): offset_of(record)})
            raise


def _first_offsets(taken: Iterable[_Taken[Any]]) -> dict[TP, int]:
    """Return the offset of the first message of each partition."""
    offsets: dict[TP, int] = {}
    for each in taken:
        offsets.setdefault(each.tp, each.offset)
    return offsets
