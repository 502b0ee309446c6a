"""An urgent message wakes the main loop at once; messages that can wait are taken together."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from supervisor import inbox
from supervisor.inbox import Inbox


@pytest.fixture
async def made():
    box = Inbox()
    box.open(asyncio.get_running_loop())
    return box


async def test_what_cannot_wait_is_served_at_once_and_takes_along_what_could(made, monkeypatch):
    monkeypatch.setattr(inbox, "TOGETHER", 60.0)
    made.post("beat", can_wait=True)
    made.post("death", can_wait=False)

    await asyncio.wait_for(made.wait(60.0), 20)

    assert list(made.take_all()) == ["beat", "death"]


async def test_what_can_wait_does_and_is_served_all_the_same(made, monkeypatch):
    monkeypatch.setattr(inbox, "TOGETHER", 0.05)
    began = time.monotonic()
    for beat in range(3):
        made.post(beat, can_wait=True)

    await asyncio.wait_for(made.wait(60.0), 20)

    assert time.monotonic() - began >= 0.04
    assert list(made.take_all()) == [0, 1, 2]


async def test_a_turn_for_another_reason_serves_it_and_no_further_turn_follows(made, monkeypatch):
    monkeypatch.setattr(inbox, "TOGETHER", 0.05)
    made.post("beat", can_wait=True)
    await made.wait(0.001)
    assert list(made.take_all()) == ["beat"]

    began = time.monotonic()
    await made.wait(0.2)

    assert time.monotonic() - began >= 0.19


async def test_another_thread_ends_the_wait(made):
    made.post("beat", can_wait=True)
    thread = threading.Thread(target=made.put, args=("stop",))
    thread.start()
    await asyncio.wait_for(made.wait(60.0), 20)
    thread.join()
    assert "beat" in list(made.take_all())


async def test_what_came_before_the_loop_is_served_first_of_all():
    made = Inbox()
    made.put("stop")
    made.open(asyncio.get_running_loop())

    await asyncio.wait_for(made.wait(60.0), 20)

    assert list(made.take_all()) == ["stop"]


def test_what_comes_after_the_loop_is_lost_without_an_error():
    made = Inbox()

    async def run():
        made.open(asyncio.get_running_loop())

    asyncio.run(run())
    made.put("too late")
