from __future__ import annotations

import os
import signal

import pytest

from supervisor.report import ExitStatus
from support.fleets.fleets import Host


def test_workers_and_fork_server_have_process_groups_of_their_own():
    with Host({"orders": ("steady", {"workers": 2})}) as host:
        pids = host.until_ready()
        groups = [os.getpgid(pid) for pid in (host.pid, *pids)]
        assert groups == [host.pid, *pids]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_is_a_clean_drain(number):
    with Host({"orders": ("steady", {"workers": 2})}) as host:
        host.until_ready()
        host.signal_group(number)
        assert host.wait() == ExitStatus.CLEAN
        assert "Traceback" not in host.errors


def test_a_signal_to_the_group_while_the_fork_server_still_starts_is_clean_too():
    with Host({"orders": ("steady", {"workers": 2})}) as host:
        host.signal_group(signal.SIGINT)
        assert host.wait() == ExitStatus.CLEAN
        assert "Traceback" not in host.errors


def test_a_service_manager_that_signals_everybody_gets_a_clean_drain():
    with Host({"orders": ("steady", {"workers": 2})}) as host:
        for pid in [*host.until_ready(), host.pid]:
            os.kill(pid, signal.SIGTERM)
        assert host.wait() == ExitStatus.CLEAN
