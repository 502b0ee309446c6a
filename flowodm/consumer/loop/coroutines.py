"""Awaiting the user's code: in a context of its own, within its time limit."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import AsyncGeneratorType, CoroutineType, GeneratorType, coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Generator, Iterator


async def in_thread(call: Callable[[], Any]) -> Any:
    """Run a blocking call of ours beside the event loop.

    Not in its default executor, whose threads may all be taken by handlers that hang.
    """
    with _own_thread() as executor:
        return await asyncio.get_running_loop().run_in_executor(executor, call)


@contextmanager
def _own_thread() -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(1, thread_name_prefix="flowodm-blocking")
    try:
        yield executor
    finally:
        executor.shutdown(wait=False)


def completed(
    result: Any, context: contextvars.Context, limit: float | None = None
) -> Awaitable[Any]:
    """Await it to do the work that a call of the user's code has returned, if it did.

    Args:
        result: What it returned.
        context: Where it was called; a coroutine goes on there.
        limit: Seconds for it.

    Raises:
        TimeoutError: The limit is over; the work was cancelled. (When it is awaited.)
        TypeError: It is work that nobody would do: a generator. (As above.)
    """
    if limit is None and isinstance(result, CoroutineType):
        return _within(context, result)  # as a rule, and a record's hot path: no layer between
    return _completed(result, context, limit)


async def _completed(result: Any, context: contextvars.Context, limit: float | None) -> None:
    if isinstance(result, CoroutineType):
        work: Awaitable[Any] = _within(context, result)
    elif inspect.isawaitable(result):
        work = result
    elif isinstance(result, GeneratorType | AsyncGeneratorType):
        raise TypeError(f"it returned a {type(result).__name__}, whose body has not run")
    else:
        return
    if limit is None:
        await work
        return
    try:
        async with asyncio.timeout(limit) as scope:
            await work
    except TimeoutError as error:
        if not scope.expired():
            raise  # the handler's own
        raise TimeoutError(f"no end within attempt_timeout, {limit:g} s") from error


@coroutine
def _within(
    context: contextvars.Context, work: CoroutineType[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    """Await a coroutine in a contextvars.Context of its own, without a task of its own.

    Each of its steps runs in the context; what it waits for is passed on to the task.
    """
    try:
        waits_for = context.run(work.send, None)
        while True:
            try:
                answer = yield waits_for
            except GeneratorExit:
                context.run(work.close)  # which may be closed already, where both are collected
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, for example
                waits_for = context.run(work.throw, error)
            else:
                waits_for = context.run(work.send, answer)
    except StopIteration as end:
        return end.value


def cancelled_from_within(what: str, error: asyncio.CancelledError) -> RuntimeError:
    """A CancelledError that nobody asked for, say of a task the handler awaits, is a failure.

    Raises:
        asyncio.CancelledError: Somebody did ask for it: the current task is being cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error
    failure = RuntimeError(f"the {what} was cancelled from within")
    failure.__cause__ = error
    return failure
