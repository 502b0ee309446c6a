"""A blocked event loop is noticed and its culprit named; a loop that only waits is not blamed."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from flowodm.consumer.loop.watchdog import Watchdog, _CodeLine, blame
from flowodm.events import Blocked
from support.waiting import wait_until, wait_until_async

PATIENCE = 20.0
BOUND = 0.3
HERE = __name__


class Told(list[Blocked]):
    """What a watchdog has told."""

    def __call__(self, event) -> None:
        self.append(event)

    @property
    def functions(self) -> list[str]:
        return [event.where.split(" ")[0] for event in self]


@pytest.fixture
def told() -> Told:
    return Told()


def block_until(condition, timeout: float = PATIENCE) -> None:
    """Hold up whatever thread this is."""
    wait_until(condition, timeout, "the watchdog has told what the test waits for")


async def charge(condition) -> None:
    block_until(condition)


async def test_a_handler_that_sleeps_is_named_with_its_line(told):
    async def handle() -> None:
        while not told:
            time.sleep(0.01)  # noqa: ASYNC251 - the mistake that is to be noticed

    with Watchdog(asyncio.get_running_loop(), told, bound=BOUND):
        await handle()

    (event,) = told
    first = inspect.getsourcelines(handle)[1]
    named = {
        f"{handle.__qualname__} ({HERE}:{first + 1})",
        f"{handle.__qualname__} ({HERE}:{first + 2})",
    }
    assert event.where in named
    assert BOUND <= event.seconds < PATIENCE
    assert not event.again


async def test_a_callback_of_somebody_else_on_the_same_event_loop_counts_too(told):
    def somebody_else() -> None:
        while not told:
            time.sleep(0.01)

    loop = asyncio.get_running_loop()
    with Watchdog(loop, told, bound=BOUND):
        loop.call_soon(somebody_else)
        await wait_until_async(lambda: told, PATIENCE, "it was told")

    assert told.functions == [somebody_else.__qualname__]


async def test_a_blockage_is_told_once_and_again_while_it_lasts(told):
    with Watchdog(asyncio.get_running_loop(), told, bound=BOUND, again_after=0.6):
        await charge(lambda: len(told) == 3)

    assert [event.again for event in told] == [False, True, True]
    assert told[0].seconds < told[1].seconds < told[2].seconds


async def test_the_next_blockage_is_another_one(told):
    with Watchdog(asyncio.get_running_loop(), told, bound=BOUND, again_after=PATIENCE):
        for count in (1, 2):
            await charge(lambda count=count: len(told) == count)
            await asyncio.sleep(0.6)  # two looks: time in which the loop runs is the fact here

    assert [event.again for event in told] == [False, False]


async def test_a_loop_that_works_in_short_steps_is_not_blocked(told):
    ends = time.monotonic() + 4 * BOUND
    with Watchdog(asyncio.get_running_loop(), told, bound=BOUND):
        while time.monotonic() < ends:
            time.sleep(0.01)  # noqa: ASYNC251 - a short step of work
            await asyncio.sleep(0)

    assert not told


async def test_an_idle_loop_is_neither_blamed_nor_woken(told):
    loop = asyncio.get_running_loop()
    with Watchdog(loop, told, bound=BOUND) as watchdog:
        await asyncio.sleep(4 * BOUND)
        asked = watchdog._asked

    assert not told
    assert asked <= 1, "the loop was asked while it waited"


def test_a_loop_that_has_ended_is_not_blamed_and_ends_the_watchdog(told):
    async def start() -> None:
        Watchdog(asyncio.get_running_loop(), told, bound=BOUND).start()

    before = threading.active_count()
    asyncio.run(start())

    wait_until(lambda: threading.active_count() == before, PATIENCE, "the watchdog's thread ended")
    assert not told


def test_a_loop_that_is_not_run_at_the_moment_is_not_blamed(told):
    loop = asyncio.new_event_loop()

    async def start() -> Watchdog:
        watchdog = Watchdog(loop, told, bound=BOUND)
        watchdog.start()
        return watchdog

    watchdog = loop.run_until_complete(start())
    time.sleep(4 * BOUND)  # the program does something else meanwhile
    loop.run_until_complete(asyncio.sleep(0))
    watchdog.stop()
    loop.close()

    assert not told


async def test_a_debuggers_prompt_is_no_blockage(told, monkeypatch):
    debugger = {"__name__": "bdb", "time": time, "BOUND": BOUND}
    exec("def interaction():\n    time.sleep(4 * BOUND)", debugger)

    with Watchdog(asyncio.get_running_loop(), told, bound=BOUND):
        debugger["interaction"]()

    assert not told


async def test_a_call_that_keeps_the_interpreters_lock_is_named_when_it_returns(told):
    expression, text = "(a|aa)+$", "a" * 27 + "b"

    def look_for_trouble() -> None:
        ends = time.monotonic() + PATIENCE
        while not told and time.monotonic() < ends:
            begun = time.monotonic()
            nonlocal text
            re.match(expression, text)
            if time.monotonic() - begun < 1.5:  # slow enough on this machine?
                text = "aa" + text

    with Watchdog(asyncio.get_running_loop(), told, bound=BOUND):
        look_for_trouble()

    assert told.functions[:1] == [look_for_trouble.__qualname__]


STOPPED_PROCESS = """
    import asyncio, sys, threading, time
    from flowodm.consumer.loop.watchdog import Watchdog

    def tell(event):
        print("told", event, flush=True)

    async def main():
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def read():
            sys.stdin.readline()
            loop.call_soon_threadsafe(stop.set)

        with Watchdog(loop, tell, bound=0.3):
            threading.Thread(target=read, daemon=True).start()
            print("ready", flush=True)
            while not stop.is_set():
                time.sleep(0.01)  # busy, so that it is asked for signs of life
                await asyncio.sleep(0)
        print("done", flush=True)

    asyncio.run(main())
"""


def test_a_stopped_process_is_no_blockage():
    """A suspended machine looks the same: time has passed and nothing has run."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STOPPED_PROCESS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            for _ in range(2):
                os.kill(process.pid, signal.SIGSTOP)
                time.sleep(1.0)  # so long it stands still
                os.kill(process.pid, signal.SIGCONT)
                time.sleep(0.6)  # the watchdog looks twice
            said, _ = process.communicate("\n", timeout=PATIENCE)
        finally:
            process.kill()

    assert said == "done\n"


# ---- who is to blame ------------------------------------------------------------------------


def place(module: str, file: str | None = None, function: str = "f") -> _CodeLine:
    return _CodeLine(function, module, 1, file or f"/app/{module.replace('.', '/')}.py")


def installed(module: str) -> _CodeLine:
    return place(module, f"/venv/lib/python3.12/site-packages/{module.replace('.', '/')}.py")


FLOWODM = installed("flowodm.consumer.loop.aio")
ASYNCIO = place("asyncio.events", "/usr/lib/python3.12/asyncio/events.py")
SOCKET = place("socket", "/usr/lib/python3.12/socket.py")


def test_the_line_of_the_program_is_named_and_not_that_of_its_library():
    stack = [SOCKET, installed("requests.api"), place("shop.bank"), place("shop.handlers")]

    assert str(blame([*stack, FLOWODM, ASYNCIO])) == "f (shop.bank:1)"


def test_an_installed_program_is_told_from_its_libraries_by_what_was_called_first():
    stack = [SOCKET, installed("requests.api"), installed("shop.bank"), installed("shop.handlers")]

    assert str(blame([*stack, FLOWODM, ASYNCIO])) == "f (shop.bank:1)"


def test_a_decorator_of_a_library_is_not_blamed_for_the_handler():
    stack = [place("shop.handlers"), installed("tenacity"), FLOWODM, ASYNCIO]

    assert str(blame(stack)) == "f (shop.handlers:1)"


def test_without_a_line_of_the_program_the_innermost_one_is_named():
    assert str(blame([FLOWODM, ASYNCIO])) == "f (flowodm.consumer.loop.aio:1)"


def test_a_script_is_named_by_its_file_without_the_folder():
    assert str(place("__main__", "/home/me/secret/shop.py")) == "f (shop.py:1)"


def test_the_place_has_no_path_in_it(told):
    assert str(Path(__file__).parent) not in str(_CodeLine.of(inspect.currentframe()))
