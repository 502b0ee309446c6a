"""Taking messages without a loop: calls, and iterations that own a consumer.

Calls that take one message or a batch keep their consumer for the next call; an iteration has
one for itself and closes it at its end.
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

from flowodm.blocking import adrive, drive
from flowodm.connection import get_kafka_connection
from flowodm.connection.clients import close_consumers
from flowodm.consume.steps import Poison, Taking, inner_of
from flowodm.exceptions import FlowODMError, summary
from flowodm.serialization.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from flowodm.blocking import Steps

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

_TURN_INTERVAL = 0.01


@dataclass(frozen=True, slots=True)
class Wanted(Generic[M]):
    """What an iteration is to give.

    Attributes:
        model: The class of the messages.
        max_messages: After so many it ends; None: there is no limit.
        timeout: Seconds without a message after which it ends; None: never.
        poison: What becomes of records that cannot be read.
    """

    model: type[M]
    max_messages: int | None
    timeout: float | None
    poison: Poison

    def within(self, given: int) -> bool:
        """Whether there may be another one."""
        return self.max_messages is None or given < self.max_messages


def take(consumer: Any, model: type[M], size: int, timeout: float, poison: Poison) -> list[M]:
    """At most ``size`` messages, committed; see :meth:`flowodm.consume.steps.Taking.batch`."""
    taking = Taking(consumer, codec_for(model), poison)
    deadline = time.monotonic() + timeout
    turn = _turn(consumer)
    if not turn.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
        return []
    try:
        return drive(taking.batch(size, deadline - time.monotonic()))
    finally:
        turn.release()


async def atake(
    consumer: Any,
    model: type[M],
    size: int,
    timeout: float,  # noqa: ASYNC109 - at its end what has come is returned
    poison: Poison,
) -> list[M]:
    """As :func:`take`, without blocking the event loop."""
    taking = Taking(consumer, codec_for(model), poison)
    deadline = time.monotonic() + timeout
    turn = _turn(consumer)
    while not turn.acquire(blocking=False):  # it may be a thread that has it
        if time.monotonic() >= deadline:
            return []
        await asyncio.sleep(_TURN_INTERVAL)
    try:
        return await adrive(taking.batch(size, deadline - time.monotonic()), consumer)
    finally:
        turn.release()


class _Iteration(Generic[M]):
    """What both kinds of iteration know. The order of an end: commit, then leave the group."""

    def __init__(self, wanted: Wanted[M]) -> None:
        self._wanted = wanted
        self._codec = codec_for(wanted.model)
        self._given = 0
        self._taking: Taking[M] | None = None
        self._consumer: Any = None
        self._own = False
        self._over = False

    def _use(self, consumer: Any) -> bool:
        """Begin with this consumer; False if somebody else iterates with it."""
        lent = get_kafka_connection().lend(inner_of(consumer))
        if lent is None:
            return False
        self._consumer, self._own = consumer, lent
        self._taking = Taking(consumer, self._codec, self._wanted.poison)
        _open.add(self)
        return True

    def _ends(self) -> Steps[None]:
        """What is left to ask the consumer, the first time only."""
        self._over = True
        taking, self._taking = self._taking, None
        if taking is not None:
            yield from taking.end()

    def end_in_this_thread(self) -> None:
        """The last resort, where nothing can be awaited and nobody listens to an error."""
        if self._taking is not None and self._taking.turn_to(inner_of(self._consumer)):
            with _second_to(failed=True):
                drive(self._ends())
        self._leave()

    def abandon(self) -> None:
        """In a forked child: librdkafka's threads are not here, and the parent goes on."""
        self._over, self._taking, self._consumer = True, None, None

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if self._own and consumer is not None:
            close_consumers([inner_of(consumer)])

    def _accept(self) -> None:
        if self._taking is not None:
            self._taking.accept()


class Messages(_Iteration[M]):
    """An iterator over messages, as ``consume_iter`` returns it; also a context manager.

    A message counts as handled when the next one is asked for. What was handled is committed
    once a second and at the end, which is the last message, the time-out, ``close()``, or the
    end of a ``with`` block. The last message counts as handled there too, unless an exception
    leaves the block. Without a ``with`` block nobody tells ``break`` from an exception: leaving
    the ``for`` statement by either, the last message is not committed and comes again.

    Args:
        wanted: What to give.
        consumer: Gets the consumer; called when the first message is asked for.
    """

    def __init__(self, wanted: Wanted[M], consumer: Callable[[], Any]) -> None:
        self._over = True  # until the rest is known to be right
        super().__init__(wanted)
        self._get_consumer = consumer

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> M:
        message = None
        self._accept()
        if not self._over and self._wanted.within(self._given):
            try:
                message = self._next()
            except BaseException:
                self._end(failed=True)
                raise
        if message is None:
            self._end(failed=False)
            raise StopIteration
        self._given += 1
        return message

    def close(self) -> None:
        """Commit all that was returned, and leave the group. A second time nothing happens.

        Raises:
            ConsumerError: The broker did not take the commit.
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
        """Leaving a bare ``for`` statement ends here."""
        if not self._over:
            self._end(failed=True)

    def _next(self) -> M | None:
        while self._taking is None:
            self._use(self._get_consumer())
        return drive(self._taking.next(self._wanted.timeout))

    def _end(self, *, failed: bool) -> None:
        try:
            with _second_to(failed):
                drive(self._ends())
        finally:
            self._leave()


class AsyncMessages(_Iteration[M]):
    """As :class:`Messages`, for ``async for`` and ``async with``.

    Args:
        wanted: What to give.
        consumer: Gets the consumer; awaited when the first message is asked for.
    """

    def __init__(self, wanted: Wanted[M], consumer: Callable[[], Awaitable[Any]]) -> None:
        self._over = True
        super().__init__(wanted)
        self._get_consumer = consumer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        message = None
        self._accept()
        if not self._over and self._wanted.within(self._given):
            try:
                message = await self._next()
            except BaseException:
                await self._end(failed=True)
                raise
        if message is None:
            await self._end(failed=False)
            raise StopAsyncIteration
        self._given += 1
        return message

    async def aclose(self) -> None:
        """As :meth:`Messages.close`.

        Raises:
            ConsumerError: The broker did not take the commit.
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
        """Leaving a bare ``async for`` statement ends here, where nothing can be awaited."""
        if not self._over and self._consumer is not None:
            threading.Thread(target=self.end_in_this_thread, name="flowodm-close").start()

    async def _next(self) -> M | None:
        while self._taking is None:
            self._use(await self._get_consumer())
        return await adrive(self._taking.next(self._wanted.timeout), self._consumer)

    async def _end(self, *, failed: bool) -> None:
        try:
            with _second_to(failed):
                await adrive(self._ends(), self._consumer)
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
    """End the iterations that somebody still holds: __del__ would be too late for threads."""
    for iteration in list(_open):
        iteration.end_in_this_thread()


@contextmanager
def _second_to(failed: bool) -> Iterator[None]:
    """An error of the last commit is raised, unless there is one that matters more."""
    try:
        yield
    except FlowODMError as error:
        if not failed:
            raise
        _log.error("at the end of an iteration: %s", summary(error))


# ---- the consumer ----------------------------------------------------------------------------


def _turn(consumer: Any) -> threading.Lock:
    """One at a time takes messages from a kept consumer: commits must not overtake each other."""
    turn: threading.Lock | None = getattr(inner_of(consumer), "turn", None)
    return threading.Lock() if turn is None else turn
