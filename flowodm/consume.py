"""Taking messages without a loop: the steps of :mod:`flowodm.taking`, driven in a thread or task.

Calls that take one message or a batch keep their consumer for the next call; an iteration has
one for itself and closes it at its end.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import confluent_kafka
from confluent_kafka import KafkaException
from pydantic import BaseModel

from flowodm.codecs import codec_for
from flowodm.connection import get_kafka_connection
from flowodm.exceptions import FlowODMError, summary
from flowodm.taking import Ask, GivenUpError, Poison, Steps, Taking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
    from types import TracebackType

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

CLOSE_TIMEOUT = 10.0
"""Seconds that leaving the group may take (confluent-kafka-python issue 1667)."""

# Seconds that a cancelled task waits for what its consumer is just doing.
_LAST_WORD = 5.0
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
    """At most ``size`` messages, committed; see :meth:`flowodm.taking.Taking.batch`."""
    taking = Taking(consumer, codec_for(model), poison)
    deadline = time.monotonic() + timeout
    turn = _turn(consumer)
    if not turn.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
        return []
    try:
        return _drive(taking.batch(size, deadline - time.monotonic()))
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
        return await _adrive(taking.batch(size, deadline - time.monotonic()), consumer)
    finally:
        turn.release()


class Messages(Generic[M]):
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
        self._messages = _each(wanted, consumer, handled := threading.Event())
        self._handled = handled

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> M:
        return next(self._messages)

    def close(self) -> None:
        """Commit all that was returned, and leave the group. A second time nothing happens.

        Raises:
            ConsumerError: The broker did not take the commit.
        """
        self._handled.set()
        self._messages.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._handled.set()
        self._messages.close()


class AsyncMessages(Generic[M]):
    """As :class:`Messages`, for ``async for`` and ``async with``.

    Args:
        wanted: What to give.
        consumer: Gets the consumer; awaited when the first message is asked for.
    """

    def __init__(self, wanted: Wanted[M], consumer: Callable[[], Awaitable[Any]]) -> None:
        self._messages = _aeach(wanted, consumer, handled := threading.Event())
        self._handled = handled

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        return await anext(self._messages)

    async def aclose(self) -> None:
        """As :meth:`Messages.close`.

        Raises:
            ConsumerError: The broker did not take the commit.
        """
        self._handled.set()
        await self._messages.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._handled.set()
        await self._messages.aclose()


# ---- iterations: the same story twice, as one may await and the other may not ----------------


def _each(
    wanted: Wanted[M], get_consumer: Callable[[], Any], handled: threading.Event
) -> Generator[M, None, None]:
    codec = codec_for(wanted.model)
    consumer = get_consumer()
    while (own := get_kafka_connection().lend(_inner(consumer))) is None:
        consumer = get_consumer()
    taking = Taking(consumer, codec, wanted.poison)
    given, failed = 0, True
    try:
        while wanted.within(given):
            message = _drive(taking.next(wanted.timeout))
            if message is None:
                break
            given += 1
            yield message
            taking.accept()
        failed = False
    except GeneratorExit:
        failed = not handled.is_set()
        if handled.is_set():
            taking.accept()
        raise
    finally:
        try:
            with _second_to(failed):
                _drive(taking.end())
        finally:
            if own:
                _close(consumer)


async def _aeach(
    wanted: Wanted[M], get_consumer: Callable[[], Awaitable[Any]], handled: threading.Event
) -> AsyncGenerator[M, None]:
    codec = codec_for(wanted.model)
    consumer = await get_consumer()
    while (own := get_kafka_connection().lend(_inner(consumer))) is None:
        consumer = await get_consumer()
    taking = Taking(consumer, codec, wanted.poison)
    given, failed = 0, True
    try:
        while wanted.within(given):
            message = await _adrive(taking.next(wanted.timeout), consumer)
            if message is None:
                break
            given += 1
            yield message
            taking.accept()
        failed = False
    except GeneratorExit:
        failed = not handled.is_set()
        if handled.is_set():
            taking.accept()
        raise
    finally:
        try:
            with _second_to(failed):
                await _adrive(taking.end(), consumer)
        finally:
            if own:
                await asyncio.shield(asyncio.to_thread(_close, _inner(consumer)))


@contextmanager
def _second_to(failed: bool) -> Iterator[None]:
    """An error of the last commit is raised, unless there is one that matters more."""
    try:
        yield
    except FlowODMError as error:
        if not failed:
            raise
        _log.error("at the end of an iteration: %s", summary(error))


# ---- drivers ---------------------------------------------------------------------------------


def _drive(steps: Steps[T]) -> T:
    """Make each call that the steps ask for."""
    answer: Any = None
    try:
        ask = next(steps)
        while True:
            try:
                answer = ask()
            except BaseException as error:  # noqa: BLE001 - the steps decide about all of them
                ask = steps.throw(error)
            else:
                ask = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def _adrive(steps: Steps[T], consumer: Any) -> T:
    """Make each call without blocking the event loop; a cancelled one is finished first."""
    threaded = isinstance(consumer, confluent_kafka.Consumer)
    cancelled = False
    try:
        ask = next(steps)
        while True:
            call = asyncio.ensure_future(_called(ask, threaded))
            try:
                answer = await (_last_word(call) if cancelled else asyncio.shield(call))
            except asyncio.CancelledError:
                cancelled = True
                ask = steps.throw(GivenUpError(await _last_word(call)))
            except BaseException as error:  # noqa: BLE001 - as in _drive
                ask = steps.throw(error)
            else:
                ask = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
    except GivenUpError:
        raise asyncio.CancelledError from None


async def _called(ask: Ask, threaded: bool) -> Any:
    if threaded or not ask.of_consumer:
        return await asyncio.to_thread(ask)
    answer = ask()
    return await answer if inspect.isawaitable(answer) else answer


async def _last_word(call: asyncio.Future[Any]) -> Any:
    """What a call comes to although nobody waits for it any more; None if it fails."""
    deadline = asyncio.get_running_loop().time() + _LAST_WORD
    while not call.done() and (left := deadline - asyncio.get_running_loop().time()) > 0:
        with suppress(asyncio.CancelledError):  # the first one is passed on, in the end
            await asyncio.wait([call], timeout=left)
    if not call.done():
        _log.warning("a cancelled call of a Kafka consumer has not ended within %g s", _LAST_WORD)
        call.add_done_callback(lambda late: late.cancelled() or late.exception())
        return None
    return None if call.cancelled() or call.exception() is not None else call.result()


# ---- the consumer ----------------------------------------------------------------------------


def _inner(consumer: Any) -> Any:
    """What flowodm's own consumer for coroutines wraps; any other consumer itself."""
    return getattr(consumer, "consumer", consumer)


def _turn(consumer: Any) -> threading.Lock:
    """One at a time takes messages from a kept consumer: commits must not overtake each other."""
    turn: threading.Lock | None = getattr(_inner(consumer), "turn", None)
    return threading.Lock() if turn is None else turn


def _close(consumer: Any) -> None:
    """Leave the group, within CLOSE_TIMEOUT."""

    def close() -> None:
        with suppress(KafkaException, RuntimeError):  # it was closed by somebody else
            consumer.close()

    thread = threading.Thread(target=close, name="flowodm-close", daemon=True)
    thread.start()
    thread.join(CLOSE_TIMEOUT)
    if thread.is_alive():
        _log.warning("a Kafka consumer did not close within %g s", CLOSE_TIMEOUT)
