"""The system gives no process or no file descriptor for a while: only who needs one waits."""

from __future__ import annotations

import errno
import os
import resource
import signal

import pytest

from support.fleets.fleets import assigned, embedded, slots, until

QUICK = {"restart": {"initial": "10ms", "cap": "50ms", "limit": 3}}
"""More attempts are made than failures are tolerated."""

OPEN = 500
"""More file descriptors than this process and its supervisor have."""


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
async def test_it_is_tried_again_for_ever_and_the_others_are_left_alone(number, monkeypatch):
    async with embedded({"orders": ("steady", QUICK), "mail": "steady"}) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        before = slots(supervisor)
        server = supervisor._fleet._server
        with monkeypatch.context() as patch:
            patch.setattr(server, "spawn", refuse(number))
            os.kill(before["orders/0"]["pid"], signal.SIGKILL)
            slot = await until(
                lambda: (s := slots(supervisor)["orders/0"])["restarts"] > 5 and s, "it tries"
            )
            assert slot["restarts_by_reason"].keys() == {"signal", "spawn"}
            assert os.strerror(number) in slot["last_failure"]["message"]
        await until(lambda: supervisor.ready, "there is one again")
        assert slots(supervisor)["mail/0"]["pid"] == before["mail/0"]["pid"]
        assert server.started == 1
    assert supervisor.report.status == 0


def refuse(number):
    def spawn(*_):
        raise OSError(number, os.strerror(number))

    return spawn


async def test_a_supervisor_without_free_file_descriptors_goes_on_and_recovers():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with embedded({"orders": ("steady", {**QUICK, "max_rss": "1TB"})}) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        old = slots(supervisor)["orders/0"]["pid"]
        taken = [os.dup(0) for _ in range(OPEN)]  # no gap below the limit is left
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, most[1]))
            os.kill(old, signal.SIGKILL)
            while len(taken) < 10_000:
                try:
                    taken.append(os.dup(0))
                except OSError:
                    break
            await until(
                lambda: "spawn" in slots(supervisor)["orders/0"]["restarts_by_reason"], "it tries"
            )
            assert "Too many open files" in slots(supervisor)["orders/0"]["last_failure"]["message"]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
            for fd in taken:
                os.close(fd)
        slot = await until(
            lambda: assigned(s := slots(supervisor)["orders/0"]) and s["pid"] != old and s,
            "there is one again",
        )
        assert slot["last_failure"]["reason"] == "spawn"
    assert supervisor.report.status == 0


async def test_a_fork_that_fails_costs_the_fork_server_and_no_other_worker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    consumers = {"orders": ("steady", QUICK), "mail": "steady"}
    async with embedded(consumers, preload=["full_machine", "standins"]) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        before = slots(supervisor)
        (tmp_path / "full").touch()
        os.kill(before["orders/0"]["pid"], signal.SIGKILL)
        await until(
            lambda: "spawn" in slots(supervisor)["orders/0"]["restarts_by_reason"], "it tries"
        )
        (tmp_path / "full").unlink()
        await until(lambda: supervisor.ready, "there is one again")
        assert slots(supervisor)["mail/0"]["pid"] == before["mail/0"]["pid"]
    assert supervisor.report.status == 0
