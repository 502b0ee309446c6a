"""Take messages without a loop: by calls, and by iterations.

Calls that take one message or a batch share a consumer and leave it open. An iteration has a
consumer to itself, and closes it at its end.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import WeakSet

from pydantic import BaseModel

from flowodm.blocking import run_synchronously
from flowodm.connection import get_kafka_connection
from flowodm.connection.clients import close_consumers
from flowodm.consume.calls import LoopCalls, ThreadCalls
from flowodm.consume.consumer import inner_of
from flowodm.consume.steps import Poison, Taking
from flowodm.exceptions import FlowODMError, summary
from flowodm.serialization.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from flowodm.consume.calls import Calls

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

_TURN_INTERVAL = 0.01
"""Seconds between two attempts of a task at a consumer that another one is using."""


@dataclass(frozen=True, slots=True)
class IterationOptions(Generic[M]):
    """How an iteration reads and when it ends.

    Attributes:
        model: The class of the messages.
        max_messages: The number of messages after which it ends; None: no limit.
        timeout: Seconds without a message after which it ends; None: never.
        poison: What to do with records that cannot be read.
    """

    model: type[M]
    max_messages: int | None
    timeout: float | None
    poison: Poison

    def allows_more(self, count: int) -> bool:
        """Tell whether there may be another message after ``count`` of them."""
        return self.max_messages is None or count < self.max_messages


def take(consumer: Any, model: type[M], size: int, timeout: float, poison: Poison) -> list[M]:
    """Take and commit a batch; see :meth:`flowodm.consume.steps.Taking.batch`.

    Args:
        consumer: A subscribed consumer.
        model: The class of the messages.
        size: The number of messages at most.
        timeout: Seconds for the whole call.
        poison: What to do with records that cannot be read.
    """
    taking = Taking(consumer, codec_for(model), poison, calls=ThreadCalls())
    deadline = time.monotonic() + timeout
    turn = _turn(consumer)
    if not turn.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
        return []
    try:
        return run_synchronously(taking.batch(size, deadline - time.monotonic()))
    finally:
        turn.release()


async def atake(
    consumer: Any,
    model: type[M],
    size: int,
    timeout: float,  # noqa: ASYNC109 - no error: the call returns what it has by then
    poison: Poison,
) -> list[M]:
    """Take and commit a batch without blocking the event loop; see :func:`take`."""
    calls = LoopCalls(consumer)
    taking = Taking(consumer, codec_for(model), poison, calls=calls)
    deadline = time.monotonic() + timeout
    turn = _turn(consumer)
    while not turn.acquire(blocking=False):  # a thread may hold it
        if time.monotonic() >= deadline:
            return []
        await asyncio.sleep(_TURN_INTERVAL)
    try:
        return await calls.run(taking.batch(size, deadline - time.monotonic()))
    finally:
        turn.release()


class _Iteration(Generic[M]):
    """The state of both kinds of iteration. At its end it commits, then it leaves the group."""

    def __init__(self, options: IterationOptions[M]) -> None:
        self._options = options
        self._codec = codec_for(options.model)
        self._count = 0
        self._taking: Taking[M] | None = None
        self._consumer: Any = None
        self._closes_consumer = False
        self._is_over = False

    def _use(self, consumer: Any, calls: Calls) -> bool:
        """Begin with this consumer; False if another iteration has it."""
        lent = get_kafka_connection().lend(inner_of(consumer))
        if lent is None:
            return False
        self._consumer, self._closes_consumer = consumer, lent
        self._taking = Taking(consumer, self._codec, self._options.poison, calls=calls)
        _open.add(self)
        return True

    async def _commit_and_stop(self) -> None:
        """Commit what was handled, the first time only."""
        self._is_over = True
        taking, self._taking = self._taking, None
        if taking is not None:
            await taking.end()

    def end_in_this_thread(self) -> None:
        """End the iteration where nothing can be awaited; an error is only logged."""
        if self._taking is not None and self._taking.use_inner_consumer():
            with _log_commit_error(instead=True):
                run_synchronously(self._commit_and_stop())
        self._leave()

    def abandon(self) -> None:
        """Forget the consumer, in a forked child: it belongs to the parent process."""
        self._is_over, self._taking, self._consumer = True, None, None

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if self._closes_consumer and consumer is not None:
            close_consumers([inner_of(consumer)])

    def _accept(self) -> None:
        if self._taking is not None:
            self._taking.accept()


class Messages(_Iteration[M]):
    """An iterator over messages, as ``consume_iter`` returns it; also a context manager.

    A message counts as handled when the next one is asked for. Handled messages are committed
    once a second and at the end of the iteration: after the last message, at the time-out, by
    ``close()``, or at the end of a ``with`` block. The last message counts as handled there too,
    unless an exception leaves the block. Without a ``with`` block the iteration cannot tell
    ``break`` from an exception: whichever leaves the ``for`` statement, the last message is not
    committed and is delivered again.

    Args:
        options: How it reads and when it ends.
        consumer: Returns the consumer; called when the first message is asked for.
    """

    def __init__(self, options: IterationOptions[M], consumer: Callable[[], Any]) -> None:
        self._is_over = True  # for __del__, if the rest raises
        super().__init__(options)
        self._get_consumer = consumer

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> M:
        message = None
        self._accept()
        if not self._is_over and self._options.allows_more(self._count):
            try:
                message = self._next()
            except BaseException:
                self._end(failed=True)
                raise
        if message is None:
            self._end(failed=False)
            raise StopIteration
        self._count += 1
        return message

    def close(self) -> None:
        """Commit all messages that were returned, and leave the group; a second call does nothing.

        Raises:
            ConsumerError: The broker refused the commit.
        """
        self._accept()
        self._end(failed=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._accept()
        self._end(failed=error is not None)

    def __del__(self) -> None:
        """End the iteration when a ``for`` statement without ``with`` was left."""
        if not self._is_over:
            self._end(failed=True)

    def _next(self) -> M | None:
        while self._taking is None:
            self._use(self._get_consumer(), ThreadCalls())
        return run_synchronously(self._taking.next(self._options.timeout))

    def _end(self, *, failed: bool) -> None:
        try:
            with _log_commit_error(instead=failed):
                run_synchronously(self._commit_and_stop())
        finally:
            self._leave()


class AsyncMessages(_Iteration[M]):
    """An iterator over messages for ``async for`` and ``async with``; see :class:`Messages`.

    Args:
        options: How it reads and when it ends.
        consumer: Returns the consumer; awaited when the first message is asked for.
    """

    def __init__(
        self, options: IterationOptions[M], consumer: Callable[[], Awaitable[Any]]
    ) -> None:
        self._is_over = True  # for __del__, if the rest raises
        super().__init__(options)
        self._get_consumer = consumer
        self._calls = LoopCalls(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        message = None
        self._accept()
        if not self._is_over and self._options.allows_more(self._count):
            try:
                message = await self._next()
            except BaseException:
                await self._end(failed=True)
                raise
        if message is None:
            await self._end(failed=False)
            raise StopAsyncIteration
        self._count += 1
        return message

    async def aclose(self) -> None:
        """Commit all messages that were returned, and leave the group; a second call does nothing.

        Raises:
            ConsumerError: The broker refused the commit.
        """
        self._accept()
        await self._end(failed=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._accept()
        await self._end(failed=error is not None)

    def __del__(self) -> None:
        """End the iteration in a thread when an ``async for`` without ``async with`` was left."""
        if not self._is_over and self._consumer is not None:
            threading.Thread(target=self.end_in_this_thread, name="flowodm-close").start()

    async def _next(self) -> M | None:
        while self._taking is None:
            consumer = await self._get_consumer()
            self._calls = LoopCalls(consumer)
            self._use(consumer, self._calls)
        return await self._calls.run(self._taking.next(self._options.timeout))

    async def _end(self, *, failed: bool) -> None:
        try:
            with _log_commit_error(instead=failed):
                await self._calls.run(self._commit_and_stop())
        finally:
            await asyncio.shield(asyncio.to_thread(self._leave))


_open: WeakSet[_Iteration[Any]] = WeakSet()


def _abandon_all() -> None:
    for iteration in list(_open):
        iteration.abandon()
    _open.clear()


os.register_at_fork(after_in_child=_abandon_all)


@atexit.register  # before the connection's own, as it was registered after that
def _end_all() -> None:
    """End the iterations that are still open: when __del__ runs, threads cannot start any more."""
    for iteration in list(_open):
        iteration.end_in_this_thread()


@contextmanager
def _log_commit_error(*, instead: bool) -> Iterator[None]:
    """Log an error of the last commit instead of raising it, where another one is raised."""
    try:
        yield
    except FlowODMError as error:
        if not instead:
            raise
        _log.error("the last commit of an iteration failed: %s", summary(error))


def _turn(consumer: Any) -> threading.Lock:
    """Return the lock of a shared consumer: its commits must not overtake each other."""
    turn: threading.Lock | None = getattr(inner_of(consumer), "turn", None)
    return threading.Lock() if turn is None else turn
