"""The environment's variables and a real datagram socket."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from supervisor.instrumentation.snapshot import Snapshot
from supervisor.systemd.notifier import SHORTEST_TURN, Notifier, notifier_of
from support.fleets.notify_socket import NotifySocket, abstract_address, notify_socket

FLEET = Snapshot(
    at=100.0, workers=2, assigned=2, backing_off=0, failed=0, ended=0, settled=0, ready=True
)
ALL_OF_IT = {"READY": "1", "STATUS": "workers assigned: 2 of 2", "WATCHDOG": "1"}
PID = 4711


def later(seconds, **changes):
    return replace(FLEET, at=FLEET.at + seconds, **changes)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records]


def test_it_is_told_at_a_path(tmp_path):
    with notify_socket(tmp_path / "notify") as manager:
        Notifier(manager.address, watchdog=10.0)(FLEET)
        assert manager.take() == [ALL_OF_IT]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")
def test_it_is_told_at_an_abstract_address():
    with notify_socket(abstract_address()) as manager:
        Notifier(manager.address, watchdog=10.0)(FLEET)
        assert manager.take() == [ALL_OF_IT]


def test_a_reload_shorter_than_a_turn_is_two_datagrams(tmp_path):
    with notify_socket(tmp_path / "notify") as manager:
        notify = Notifier(manager.address)
        notify(FLEET)
        notify(later(1, reloads=1))
        assert [sorted(fields) for fields in manager.take()[1:]] == [
            ["MONOTONIC_USEC", "RELOADING"],
            ["READY"],
        ]


def test_a_socket_that_is_gone_is_logged_once_and_told_again_once_it_is_back(tmp_path, caplog):
    address = tmp_path / "notify"
    notify = Notifier(str(address))
    NotifySocket(address).close()
    notify(FLEET)  # nobody listens
    address.unlink()
    notify(later(1))  # there is no such path
    (line,) = warnings(caplog)
    assert str(address) in line
    with notify_socket(address) as manager:
        notify(later(2))
        assert manager.take() == [{"READY": "1", "STATUS": "workers assigned: 2 of 2"}]
    assert len(warnings(caplog)) == 1


def test_a_full_socket_holds_nobody_up_and_loses_no_change_of_state(tmp_path, caplog):
    with notify_socket(tmp_path / "notify") as manager:
        manager.fill()
        notify = Notifier(manager.address)
        began = time.monotonic()
        for turn in range(100):
            notify(later(turn))
        assert time.monotonic() - began < 1.0
        assert len(warnings(caplog)) == 1
        assert manager.all("READY") == []
        notify(later(100))
        assert manager.all("READY") == ["1"]


def test_a_path_too_long_for_a_socket_is_logged_and_does_no_harm(caplog):
    Notifier("/" + "x" * 200)(FLEET)
    assert len(warnings(caplog)) == 1


def test_the_variables_are_taken_out_of_the_environment():
    environment = {
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(PID),
        "HOME": "/root",
    }
    assert notifier_of(environment, PID).turn == 0.75
    assert environment == {"HOME": "/root"}
    assert notifier_of(environment, PID) is None


def test_they_are_taken_out_also_without_a_socket():
    environment = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID)}
    assert notifier_of(environment, PID) is None
    assert environment == {}


@pytest.mark.parametrize("address", ["run/notify", "vsock:2:1234", "/", "@"])
def test_an_address_of_another_kind_is_refused_and_logged(address, caplog):
    assert notifier_of({"NOTIFY_SOCKET": address}, PID) is None
    (line,) = warnings(caplog)
    assert repr(address) in line


@pytest.mark.parametrize(
    ("usec", "pid", "turn"),
    [
        ("1000000", str(PID), 0.25),
        ("1000000", "", 0.25),
        ("1", str(PID), SHORTEST_TURN),
        ("1000000", "1", inf),
        ("1000000", "one", inf),
        ("0", str(PID), inf),
        ("", str(PID), inf),
        ("-5", str(PID), inf),
        ("infinity", str(PID), inf),
    ],
)
def test_the_watchdog_is_on_if_it_is_ours_and_has_a_time(usec, pid, turn, tmp_path):
    variables = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    with notify_socket(tmp_path / "notify") as manager:
        service = notifier_of({"NOTIFY_SOCKET": manager.address, **variables}, PID)
        assert service.turn == turn
        service(FLEET)
        assert manager.all("WATCHDOG") == ([] if turn == inf else ["1"])


def test_no_file_descriptor_stays_open(tmp_path):
    descriptors = Path("/dev/fd")
    with notify_socket(tmp_path / "notify") as manager:
        notify = Notifier(manager.address, watchdog=1.0)
        before = len(list(descriptors.iterdir()))
        for turn in range(50):
            notify(later(turn))
            manager.take()
        assert len(list(descriptors.iterdir())) == before
