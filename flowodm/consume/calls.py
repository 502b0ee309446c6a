"""Calls that may block, made in the calling thread or without blocking the event loop.

Taking messages is written once, as coroutines that make every such call through :class:`Calls`.
:class:`ThreadCalls` makes it at once, so a coroutine never suspends and needs no event loop (see
:func:`flowodm.blocking.run_synchronously`). :class:`LoopCalls` awaits it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import confluent_kafka

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_log = logging.getLogger(__name__)

T = TypeVar("T")

_CANCELLED_CALL_TIMEOUT = 5.0
"""Seconds that a cancelled task waits for the call that its consumer is making."""


class Calls(Protocol):
    """Makes calls that may block."""

    async def ask_consumer(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of the consumer, whether or not it returns an awaitable."""

    async def run_blocking(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function that blocks its thread."""


class CallCancelledError(BaseException):
    """The task was cancelled during a call.

    Attributes:
        answer: What the call returned all the same; None if it failed or did not return in time.
    """

    def __init__(self, answer: Any = None) -> None:
        super().__init__("cancelled")
        self.answer = answer


class ThreadCalls:
    """Makes each call in the calling thread."""

    async def ask_consumer(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of the consumer."""
        return method(*args, **kwargs)

    async def run_blocking(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function."""
        return function(*args)


class LoopCalls:
    """Makes each call without blocking the event loop; a cancelled one is finished first.

    After the task was cancelled, further calls serve its clean-up: one that fails returns None.

    Args:
        consumer: A consumer of confluent_kafka's kind, called in a thread; or one whose methods
            return awaitables.
    """

    def __init__(self, consumer: Any) -> None:
        self._is_threaded = isinstance(consumer, confluent_kafka.Consumer)
        self._is_cancelled = False

    async def ask_consumer(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of the consumer, and await what it returns.

        Raises:
            CallCancelledError: The task was cancelled meanwhile.
        """
        if self._is_threaded:
            return await self._finish(asyncio.to_thread(method, *args, **kwargs))
        return await self._finish(_awaited(method, *args, **kwargs))

    async def run_blocking(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in a thread.

        Raises:
            CallCancelledError: The task was cancelled meanwhile.
        """
        return await self._finish(asyncio.to_thread(function, *args))

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that makes its calls here.

        Raises:
            CancelledError: The task was cancelled; the coroutine has cleaned up.
        """
        self._is_cancelled = False
        try:
            return await coroutine
        except CallCancelledError:
            raise asyncio.CancelledError from None

    async def _finish(self, coroutine: Coroutine[Any, Any, T]) -> T:
        call = asyncio.ensure_future(coroutine)
        if self._is_cancelled:
            answer: T = await _last_answer(call)
            return answer
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            self._is_cancelled = True
            raise CallCancelledError(await _last_answer(call)) from None


async def _awaited(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    answer = method(*args, **kwargs)
    return await answer if inspect.isawaitable(answer) else answer


async def _last_answer(call: asyncio.Future[Any]) -> Any:
    """Wait for a call of a cancelled task; return its answer, or None if it fails."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _CANCELLED_CALL_TIMEOUT
    while not call.done() and (remaining := deadline - clock()) > 0:
        with suppress(asyncio.CancelledError):  # the task is cancelled already
            await asyncio.wait([call], timeout=remaining)
    if not call.done():
        _log.warning(
            "a cancelled call of a Kafka consumer has not ended within %g s",
            _CANCELLED_CALL_TIMEOUT,
        )
        call.add_done_callback(lambda late: late.cancelled() or late.exception())
        return None
    return None if call.cancelled() or call.exception() is not None else call.result()
