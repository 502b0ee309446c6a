"""Calls that may block are made in the thread, or awaited; a cancelled one is finished first."""

from __future__ import annotations

import asyncio
import threading

import pytest

from flowodm.blocking import run_synchronously
from flowodm.consume.calls import CallCancelledError, LoopCalls, ThreadCalls


def test_a_thread_makes_each_call_at_once():
    async def steps():
        return await ThreadCalls().ask_consumer(max, 1, 2)

    assert run_synchronously(steps()) == 2


async def test_a_call_in_a_thread_is_finished_although_its_task_is_cancelled():
    calls, started, answered = LoopCalls(None), threading.Event(), threading.Event()
    answers = []

    def slow() -> str:
        started.set()
        answered.wait(10)
        return "answer"

    async def steps():
        try:
            await calls.run_blocking(slow)
        except CallCancelledError as cancelled:
            answers.append(cancelled.answer)
            # A call of the clean-up that fails is no error.
            answers.append(await calls.run_blocking(int, "no number"))
            raise

    task = asyncio.ensure_future(calls.run(steps()))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    answered.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answers == ["answer", None]
