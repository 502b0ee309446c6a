from __future__ import annotations

import os
import signal

from supervisor.process.proc_stat import parent_of
from support.fleets.fleets import Host, alive, killed_in_the_end, until_dead
from support.waiting import wait_until


def test_workers_and_fork_server_end_by_themselves():
    with Host({"orders": ("steady", {"workers": 2})}) as host:
        pids = host.until_ready()
        everyone = [*pids, parent_of(pids[0])]
        with killed_in_the_end(everyone):
            host.signal(signal.SIGKILL)
            host.wait()
            until_dead(everyone, timeout=5)


def test_also_if_another_process_holds_a_copy_of_the_pipe():
    with Host({"orders": "steady"}, "hold-pipes") as host:
        pids = host.until_ready()
        holder = int(host.process.stdout.readline())
        with killed_in_the_end([*pids, holder]):
            host.signal(signal.SIGKILL)
            os.waitpid(host.pid, 0)
            until_dead(pids, timeout=5)
            assert alive(holder), "the copy was held all the time"


def test_a_worker_that_does_not_drain_ends_at_its_drain_deadline():
    with Host({"orders": ("stubborn", {"drain_timeout": "1s"})}) as host:
        pids = host.until_ready()
        with killed_in_the_end(pids):
            host.signal(signal.SIGKILL)
            host.wait()
            until_dead(pids, timeout=5)


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Host({"orders": "steady"}) as host:
        pids = host.until_ready()
        assert list(tmp_path.iterdir())
        with killed_in_the_end(pids):
            host.signal(signal.SIGKILL)
            host.wait()
            wait_until(lambda: not list(tmp_path.iterdir()), 5, "the socket's folder is removed")
