from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from flowodm.testing import BrokerError, EmbeddedBroker
from flowodm.testing import broker as module
from support.brokers.records import produce, read_all
from support.fleets.fleets import alive, until_dead
from support.waiting import wait_until

PARENT = """
import os, sys, time
from flowodm.testing import EmbeddedBroker

with EmbeddedBroker() as broker:
    holder = os.fork() if "hold" in sys.argv else None
    if holder == 0:
        time.sleep(60)
        os._exit(0)
    print(broker.pid, holder or "", flush=True)
    sys.stdin.read()
"""


def start_parent(*flags):
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_records_can_be_written_and_read():
    with EmbeddedBroker() as broker:
        produce(broker.bootstrap_servers, "orders", [b"one", b"two"])
        values = {record.value() for record in read_all(broker.bootstrap_servers, "orders")}
        assert values == {b"one", b"two"}


def test_it_has_as_many_brokers_as_asked_for():
    with EmbeddedBroker(brokers=3) as broker:
        addresses = broker.bootstrap_servers.split(",")
        assert len(set(addresses)) == 3
        for address in addresses:
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()


def test_no_broker_at_all_is_refused():
    with pytest.raises(ValueError, match="at least 1 broker, got 0"):
        EmbeddedBroker(brokers=0)


def test_it_ends_with_its_context():
    with EmbeddedBroker() as broker:
        pid = broker.pid
        assert alive(pid)
        assert broker.alive
    assert not alive(pid)
    assert not broker.alive


def test_it_ends_with_its_context_even_if_it_hangs(monkeypatch):
    monkeypatch.setattr(module, "_STOP_TIMEOUT", 0.1)
    with EmbeddedBroker() as broker:
        pid = broker.pid
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


@pytest.mark.parametrize("flags", [[], ["hold"]], ids=["alone", "with a fork that holds the pipe"])
def test_it_dies_when_its_parent_is_sigkilled(flags):
    with start_parent(*flags) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        try:
            assert alive(pids[0])
            parent.kill()
            until_dead(pids[:1])
        finally:
            for pid in filter(alive, pids):
                os.kill(pid, signal.SIGKILL)


def test_signals_of_the_terminal_do_not_reach_it():
    with EmbeddedBroker() as broker:
        assert os.getpgid(broker.pid) == broker.pid != os.getpgrp()


def test_a_broker_that_cannot_start_is_an_error_and_leaves_no_process(capfd):
    broker = EmbeddedBroker(brokers=100_000)
    with pytest.raises(BrokerError, match="ended with status 1"), broker:
        pass
    assert "100000" in capfd.readouterr().err
    assert broker.pid is None


def test_by_hand_it_prints_its_address_and_ends_with_its_input():
    command = [sys.executable, "-m", "flowodm.testing.broker"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as broker:
        assert broker.stdout.readline().startswith("127.0.0.1:")
        wait_until(lambda: broker.poll() is None, 1, "it runs")
        _, errors = broker.communicate(timeout=10)
        assert broker.returncode == 0
        assert errors == ""
