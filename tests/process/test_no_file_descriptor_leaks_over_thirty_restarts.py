"""File descriptors are counted in a process of its own, where nobody else opens and closes any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.fleets.fleets import alive, embedded, slots, until, until_dead

RESTARTS = 30
OPTIONS = {"workers": 2, "restart": {"initial": "1ms", "cap": "5ms", "limit": 0}}
PATIENCE = 60


def open_files(pid="self"):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def alone(scenario):
    """Run a function of this file in a new process; whatever it asserts is asserted here."""
    program = f"import asyncio, {Path(__file__).stem} as here; asyncio.run(here.{scenario}())"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr


def test_neither_the_supervisor_nor_its_fork_server_holds_more_than_before():
    alone("thirty_restarts")


async def thirty_restarts():
    before = open_files()
    supervisor = embedded({"bad": ("crash", OPTIONS), "good": "steady"})
    async with supervisor:
        await until(lambda: slots(supervisor)["bad/0"]["restarts"] >= 2, "it restarts")
        server = supervisor._fleet._server.pid
        at_first, servers_at_first = open_files(), open_files(server)
        await until(lambda: slots(supervisor)["bad/0"]["restarts"] >= 2 + RESTARTS, "more often")
        # Three descriptors a live worker, two of them at most; a busy machine is slow to close.
        await until(lambda: open_files() <= at_first + 6, "the supervisor holds no more")
        await until(lambda: open_files(server) <= servers_at_first + 4, "its server neither")
    assert open_files() == before
    assert not alive(server)


def test_many_supervisors_one_after_the_other_leave_nothing_open():
    alone("three_supervisors")


async def three_supervisors():
    before, pids = open_files(), []
    for _ in range(3):
        async with embedded({"good": "steady"}) as supervisor:
            await until(lambda s=supervisor: s.ready, "it is ready")
            pids += [slots(supervisor)["good/0"]["pid"], supervisor._fleet._server.pid]
    assert open_files() == before
    until_dead(pids)
