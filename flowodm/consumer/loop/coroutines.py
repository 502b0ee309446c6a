"""Awaits the user's code, in a context of its own and within its time limit."""

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
    """Make a blocking call of ours in a new thread, and await it.

    The threads of the default executor may all be in use by handlers that hang.
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
    """Return an awaitable that finishes what a call of the user's code has begun.

    Args:
        result: The call's result: a coroutine, another awaitable, or a value, which is ignored.
        context: The context of the call; a coroutine goes on in it.
        limit: Seconds for it; None: no limit.

    Awaiting it raises:
        TimeoutError: The time is over, and the coroutine was cancelled.
        TypeError: The result is a generator, which nobody would run.
    """
    if limit is None and isinstance(result, CoroutineType):
        return _within(context, result)  # the hot path of a record: no layer in between
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
            raise  # the handler has raised it
        raise TimeoutError(f"no end within attempt_timeout, {limit:g} s") from error


@coroutine
def _within(
    context: contextvars.Context, work: CoroutineType[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    """Await a coroutine in a contextvars.Context of its own, without a task of its own.

    Each of its steps runs in the context. The task waits for whatever the coroutine waits for.
    """
    try:
        waits_for = context.run(work.send, None)
        while True:
            try:
                answer = yield waits_for
            except GeneratorExit:
                context.run(work.close)  # closed already, if both were garbage-collected
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, for example
                waits_for = context.run(work.throw, error)
            else:
                waits_for = context.run(work.send, answer)
    except StopIteration as end:
        return end.value


def cancelled_from_within(function: str, error: asyncio.CancelledError) -> RuntimeError:
    """Turn a CancelledError of the user's code, say of a task that it awaits, into a failure.

    Args:
        function: The name of the function that has raised it: "handler", for example.
        error: The error.

    Raises:
        asyncio.CancelledError: The current task is being cancelled: it is not a failure.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error
    failure = RuntimeError(f"the {function} was cancelled from within")
    failure.__cause__ = error
    return failure
