"""Generators that say what they want to know, driven in a thread or on an event loop.

Such steps are written once, for both: whatever may block they yield as an :class:`Ask`, and get
the answer back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import confluent_kafka

_log = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds for a new thread to begin.
_BEGIN = 2.0

# Seconds that a cancelled task waits for what its consumer is just doing.
_LAST_WORD = 5.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that may block.

    Attributes:
        function: What to call.
        arguments: Its arguments.
        options: Its keyword arguments.
        of_consumer: Whether it is the consumer that is asked; an asynchronous one answers with
            an awaitable.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    of_consumer: bool = True

    def __call__(self) -> Any:
        """Make the call."""
        return self.function(*self.arguments, **dict(self.options))


Steps: TypeAlias = Generator[Ask, Any, T]


class GivenUpError(BaseException):
    """Thrown into the steps when whoever drives them was cancelled during a call.

    Attributes:
        answer: What the call returned after all; None if it failed, or did not return in time.
    """

    def __init__(self, answer: Any = None) -> None:
        super().__init__("cancelled")
        self.answer = answer


class _Begun(threading.Event):
    """What ``Thread.start`` waits for, and without a bound: a thread says that it has begun.

    One that finds no memory never does.
    """

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(_BEGIN if timeout is None else timeout)


def bounded(call: Callable[[], T], timeout: float) -> T:
    """Make a call that may never return, in a thread that is left behind then.

    Raises:
        TimeoutError: It has not returned within so many seconds.
        RuntimeError: The system gives no thread, or one that does not begin.
    """
    answer: Future[T] = Future()

    def make() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller
            answer.set_exception(error)

    thread = threading.Thread(target=make, name="flowodm-bounded", daemon=True)
    thread._started = _Begun()  # type: ignore[attr-defined]  # noqa: SLF001 - see there
    thread.start()
    if thread.ident is None:
        raise RuntimeError(f"a thread has not begun within {_BEGIN:.0f} s")
    wait([answer], timeout)
    if not answer.done():
        raise TimeoutError(f"no answer within {timeout:.1f} s")
    return answer.result()


def drive(steps: Steps[T]) -> T:
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


async def adrive(steps: Steps[T], consumer: Any) -> T:
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
            except BaseException as error:  # noqa: BLE001 - as in drive
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
