from __future__ import annotations

import os
import signal
import time

import pytest

from supervisor.cli.signals import REPETITION
from supervisor.report import ExitStatus
from support.fleets.fleets import PATIENCE, Host
from support.waiting import wait_until


def until_draining(host):
    wait_until(
        lambda: all(slot["state"] == "draining" for slot in host.slots()), PATIENCE, "it drains"
    )


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_does_not_wait_for_the_drain(first, second):
    with Host({"orders": ("stubborn", {"workers": 2})}, drain_timeout="60s") as host:
        host.until_ready()
        host.signal(first)
        sent = time.monotonic()
        until_draining(host)
        if first is second is signal.SIGTERM:
            wait_until(
                lambda: time.monotonic() - sent > REPETITION + 0.2, PATIENCE, "it is another one"
            )
        began = time.monotonic()
        host.signal(second)
        assert host.wait() == ExitStatus.UNCLEAN
        assert time.monotonic() - began < 3


def test_sigterm_to_the_process_and_then_to_its_group_is_one_request():
    with Host({"orders": ("slow_to_stop", {"workers": 2})}, drain_timeout="60s") as host:
        host.until_ready()
        host.signal(signal.SIGTERM)
        until_draining(host)
        host.signal_group(signal.SIGTERM)
        assert host.wait() == ExitStatus.CLEAN


def test_sigquit_kills_at_the_first_time():
    with Host({"orders": "stubborn"}, drain_timeout="60s") as host:
        host.until_ready()
        began = time.monotonic()
        host.signal(signal.SIGQUIT)
        assert host.wait() == ExitStatus.UNCLEAN
        assert time.monotonic() - began < 3


def test_one_signal_drains_and_the_status_is_zero():
    with Host({"orders": ("steady", {"workers": 3})}) as host:
        host.until_ready()
        host.signal(signal.SIGTERM)
        assert host.wait() == ExitStatus.CLEAN
        ends = [line for line in host.log() if line["event"] == "worker ended"]
        assert sorted(line["slot"] for line in ends) == [0, 1, 2]
        assert all(line["reason"] == "done" and not line["killed"] for line in ends)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_before_the_first_assignment_ends_it_as_well(number):
    with Host({"orders": ("slow_to_start", {"workers": 2})}) as host:
        host.signal(number)
        assert host.wait() in {ExitStatus.CLEAN, ExitStatus.UNCLEAN}


def test_sighup_drains_as_the_terminal_is_gone():
    controlling, terminal = os.openpty()
    try:
        with Host({"orders": "steady"}, terminal=terminal) as host:
            os.close(terminal)
            host.until_ready()
            host.signal(signal.SIGHUP)
            assert host.wait() == ExitStatus.CLEAN
    finally:
        os.close(controlling)


def test_sighup_without_a_terminal_asks_for_a_reload_and_ends_nothing():
    with Host({"orders": "steady"}) as host:
        pids = host.until_ready()
        host.signal(signal.SIGHUP)
        host.signal(signal.SIGHUP)
        assert host.until_ready() == pids
        host.signal(signal.SIGTERM)
        assert host.wait() == ExitStatus.CLEAN
    refused = [line for line in host.log() if "it was not started from a file" in line["event"]]
    assert len(refused) >= 1
