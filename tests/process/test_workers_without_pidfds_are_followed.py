"""Where there are no pidfds (macOS), the fork server and the socket tell of a worker's end."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest

from supervisor.process import worker_process
from supervisor.report import ExitStatus
from support.fleets.fleets import assigned, embedded, slots, until

QUICK = {"restart": {"initial": "10ms"}}


@pytest.fixture(autouse=True)
def no_pidfds(monkeypatch):
    monkeypatch.setattr(worker_process, "sys", SimpleNamespace(platform="darwin"))


async def restarted(supervisor):
    return await until(
        lambda: (slot := slots(supervisor)["one/0"])["restarts"] and assigned(slot) and slot,
        "it was restarted",
    )


async def test_a_killed_worker_is_restarted_and_all_are_drained_in_the_end():
    supervisor = embedded({"one": ("steady", QUICK)})
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        os.kill(slots(supervisor)["one/0"]["pid"], signal.SIGKILL)
        assert (await restarted(supervisor))["last_failure"]["reason"] == "signal"
    assert supervisor.report.status is ExitStatus.CLEAN


async def test_without_a_fork_server_the_end_of_the_socket_tells_of_the_end():
    supervisor = embedded({"one": ("steady", QUICK)})
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        old = supervisor._fleet._server.pid
        os.kill(old, signal.SIGKILL)
        await until(lambda: supervisor._fleet._server.pid != old, "the fork server is dead")
        os.kill(slots(supervisor)["one/0"]["pid"], signal.SIGKILL)
        assert (await restarted(supervisor))["last_failure"]["reason"] == "unknown"
    assert supervisor.report.status is ExitStatus.CLEAN


async def test_a_worker_that_outlives_its_fork_server_is_drained():
    supervisor = embedded({"one": ("steady", QUICK)})
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        old = supervisor._fleet._server.pid
        os.kill(old, signal.SIGKILL)
        await until(lambda: supervisor._fleet._server.pid != old, "the fork server is dead")
    assert supervisor.report.status is ExitStatus.CLEAN
