"""A program that ends in the midst of taking messages ends at once, and repeats one message."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.loops import PATIENCE
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.loops import Bench

START = """
    import asyncio, os, sys, time
    from flowodm import connect
    from support.loops import brisk, numbers_model

    connect(sys.argv[1])
    Number = numbers_model(sys.argv[2], sys.argv[3])

    def show(number):
        print(number.n, flush=True)
"""
PROGRAMS = {
    "held": """
        numbers = Number.consume_iter(settings=brisk())
        show(next(numbers))
        show(next(numbers))
    """,
    "held by coroutines": """
        async def main():
            global numbers
            numbers = Number.aconsume_iter(settings=brisk())
            show(await anext(numbers))
            show(await anext(numbers))

        asyncio.run(main())
    """,
    "forked": """
        numbers = Number.consume_iter(settings=brisk())
        show(next(numbers))
        if os.fork() == 0:
            sys.exit()  # with everything that happens at exit, and none of it to the parent
        assert os.wait()[1] == 0
        show(next(numbers))
    """,
}
ENDLESS = {
    "for": """
        for number in Number.consume_iter(settings=brisk()):
            show(number)
    """,
    "async for": """
        async def main():
            async for number in Number.aconsume_iter(settings=brisk()):
                show(number)

        asyncio.run(main())
    """,
}


def started(program: str, bench: Bench) -> subprocess.Popen[str]:
    source = textwrap.dedent(START) + textwrap.dedent(program)
    # From Python 3.12 on a fork of a process with threads warns, on stderr.
    quiet = ["-W", "ignore:This process:DeprecationWarning"]
    return subprocess.Popen(
        [sys.executable, *quiet, "-c", source, bench.kafka, bench.topic, bench.group],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_an_iteration_that_somebody_still_holds_is_ended_at_exit(
    new_bench: Callable[[], Bench], program: str
):
    bench = new_bench()
    bench.produce(range(5))
    process = started(program, bench)

    out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err) == (0, "0\n1\n", "")
    assert bench.committed() == {0: 1}
    with bench.plain_member() as other:
        wait_until(lambda: other.owns() == [0], 5.0, "it has left the group")


@pytest.mark.parametrize("program", ENDLESS.values(), ids=ENDLESS)
def test_ctrl_c_ends_an_endless_iteration_and_commits(new_bench: Callable[[], Bench], program: str):
    bench = new_bench()
    bench.produce(range(2))
    process = started(program, bench)
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["0\n", "1\n"]
        # The last one is handled when the next one is asked for.
        wait_until(lambda: bench.committed() == {0: 2}, PATIENCE, "both are committed")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    with bench.plain_member() as other:
        wait_until(lambda: other.owns() == [0], 5.0, "it has left the group")
