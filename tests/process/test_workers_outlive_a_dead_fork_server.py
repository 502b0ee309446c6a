from __future__ import annotations

import os
import signal

from supervisor.report import ExitStatus
from support.fleets.fleets import alive, assigned, embedded, slots, until

QUICK = {"restart": {"initial": "10ms"}}


async def test_they_go_on_and_the_next_restart_gets_a_new_fork_server():
    supervisor = embedded({"one": ("steady", QUICK), "two": ("steady", QUICK)})
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        pids = {name: slot["pid"] for name, slot in slots(supervisor).items()}
        old = supervisor._fleet._server.pid
        os.kill(old, signal.SIGKILL)
        await until(lambda: supervisor._fleet._server.pid != old, "the fork server is dead")
        assert all(alive(pid) for pid in pids.values())
        os.kill(pids["one/0"], signal.SIGKILL)
        after = await until(
            lambda: (slot := slots(supervisor)["one/0"])["restarts"] and assigned(slot) and slot,
            "it was restarted",
        )
        assert after["pid"] != pids["one/0"]
        assert after["last_failure"]["reason"] == "unknown"
        assert slots(supervisor)["two/0"]["pid"] == pids["two/0"]
        assert supervisor._fleet._server.started == 2
    assert supervisor.report.status is ExitStatus.CLEAN, "the farewell tells what nobody reaped"


async def test_a_sigterm_that_a_service_manager_sends_to_everybody_does_not_end_it():
    supervisor = embedded({"one": ("steady", QUICK)})
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        os.kill(supervisor._fleet._server.pid, signal.SIGTERM)
        os.kill(slots(supervisor)["one/0"]["pid"], signal.SIGKILL)
        await until(
            lambda: (slot := slots(supervisor)["one/0"])["restarts"] and assigned(slot),
            "it was restarted",
        )
        assert supervisor._fleet._server.started == 1


async def test_a_fork_server_that_dies_before_it_forks_is_replaced():
    supervisor = embedded({"one": ("steady", QUICK)})
    async with supervisor:
        server = await until(lambda: supervisor._fleet._server.pid, "a fork server was started")
        os.kill(server, signal.SIGKILL)
        await until(lambda: supervisor.ready, "it is ready all the same")
        assert slots(supervisor)["one/0"]["last_failure"]["reason"] == "spawn"


async def test_a_system_that_gives_no_process_now_is_asked_again(monkeypatch):
    supervisor = embedded({"one": ("steady", QUICK), "two": ("steady", QUICK)})
    refusals = [OSError(13, "Permission denied", "python"), OSError(24, "Too many open files")]
    spawn = supervisor._fleet._server.spawn

    def refuse_at_first(entry, fds):
        if refusals:
            raise refusals.pop()
        return spawn(entry, fds)

    monkeypatch.setattr(supervisor._fleet._server, "spawn", refuse_at_first)
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready in the end")
        assert [slot["restarts"] for slot in slots(supervisor).values()] == [1, 1]
        failures = [slot["last_failure"]["message"] for slot in slots(supervisor).values()]
        assert failures == [
            "cannot fork a worker: Too many open files",
            "cannot fork a worker: Permission denied: python",
        ]
