"""The user's coroutines run in contexts of their own, within a time limit."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import asynccontextmanager, suppress

import pytest

from flowodm.consumer.loop.coroutines import cancelled_from_within, completed

VARIABLE = contextvars.ContextVar("variable", default="unset")


async def in_new_context(function, limit=None):
    context = contextvars.copy_context()
    return await completed(context.run(function), context, limit)


def test_a_variable_keeps_its_value_over_every_await_and_ends_with_the_coroutine():
    seen = []

    async def handle() -> None:
        VARIABLE.set("mine")
        await asyncio.sleep(0)
        seen.append(VARIABLE.get())
        await asyncio.sleep(0.001)
        seen.append(VARIABLE.get())

    async def main() -> None:
        await in_new_context(handle)
        seen.append(VARIABLE.get())

    asyncio.run(main())
    assert seen == ["mine", "mine", "unset"]


def test_tasks_and_context_managers_of_the_coroutine_see_its_variables():
    seen = []

    @asynccontextmanager
    async def scope():
        token = VARIABLE.set("scoped")
        yield
        VARIABLE.reset(token)

    async def child() -> None:
        seen.append(VARIABLE.get())

    async def handle() -> None:
        async with scope(), asyncio.TaskGroup() as group:
            group.create_task(child())
        seen.append(VARIABLE.get())

    asyncio.run(in_new_context(handle))
    assert seen == ["scoped", "unset"]


def test_what_the_coroutine_raises_comes_out_and_its_finally_runs():
    seen = []

    async def handle() -> None:
        try:
            await asyncio.sleep(0)
            raise KeyError("broken")
        finally:
            seen.append("finally")

    with pytest.raises(KeyError, match="broken"):
        asyncio.run(in_new_context(handle))
    assert seen == ["finally"]


def test_a_cancellation_reaches_the_coroutine_where_it_waits():
    seen = []

    async def handle() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(in_new_context(handle))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["cancelled"]


def test_an_attempt_that_takes_too_long_is_cancelled_and_says_the_limit():
    async def handle() -> None:
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError, match=r"attempt_timeout, 0\.01 s"):
        asyncio.run(in_new_context(handle, limit=0.01))


def test_a_time_out_of_the_handler_itself_stays_its_own():
    async def handle() -> None:
        raise TimeoutError("the database")

    with pytest.raises(TimeoutError, match="the database"):
        asyncio.run(in_new_context(handle, limit=60))


def test_a_handler_that_ends_in_spite_of_its_cancellation_has_ended():
    async def handle() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    asyncio.run(in_new_context(handle, limit=0.01))


def test_other_awaitables_are_awaited_too():
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        await in_new_context(lambda: future)

    asyncio.run(main())


@pytest.mark.parametrize("result", [None, 1, "text", [1]])
def test_what_a_handler_returns_means_nothing(result):
    asyncio.run(in_new_context(lambda: result))


def test_a_generator_is_work_that_nobody_would_do():
    with pytest.raises(TypeError, match="generator"):
        asyncio.run(in_new_context(lambda: (n for n in range(1))))


def test_a_cancelled_error_that_nobody_asked_for_is_a_failure():
    async def main() -> RuntimeError:
        return cancelled_from_within("handler", asyncio.CancelledError())

    assert "the handler was cancelled from within" in str(asyncio.run(main()))


def test_both_may_be_collected_in_any_order_where_the_event_loop_has_gone():
    ended = []

    async def handle() -> None:
        VARIABLE.set("mine")
        try:
            await asyncio.sleep(3_600)
        finally:
            ended.append(VARIABLE.get())

    async def wait(work) -> None:
        await completed(work, context)

    for handler_first in (False, True):
        context, events = contextvars.copy_context(), asyncio.new_event_loop()
        work = context.run(handle)
        outer = wait(work)
        task = events.create_task(outer)
        events.set_exception_handler(lambda *_: None)
        events.run_until_complete(asyncio.sleep(0))
        events.close()
        if handler_first:
            context.run(work.close)
        outer.close()
        assert not task.done()
    assert ended == ["mine", "mine"]
