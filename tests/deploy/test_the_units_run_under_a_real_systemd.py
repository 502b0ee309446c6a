"""deploy/systemd on a machine that has booted: what docs/systemd.md says is what happens."""

from __future__ import annotations

import signal

import pytest

from support.deploy.systemd_machine import machine
from support.deploy.systemd_service import PATIENCE, UNIT, Service
from support.fleets.real_fleets import produce_orders
from support.waiting import wait_until

SECOND = f"{UNIT}@second"


@pytest.fixture(scope="module")
def host():
    with machine() as booted:
        yield booted


@pytest.fixture
def service(host, kafka, topic):
    yield Service(host, kafka, topic)
    for unit in (UNIT, SECOND):
        host.systemctl("stop", unit)
        host.systemctl("reset-failed", unit)


@pytest.mark.timeout(400)  # the machine is made by the first one that asks for it
def test_start_returns_when_every_worker_is_assigned_and_orders_are_handled(service, kafka, topic):
    service.starts()

    assert service.host.journal(UNIT).count('"every worker is assigned"') == 1
    produce_orders(kafka, topic, 3)
    for number in range(3):
        service.says(f"handled {number}")
    wait_until(
        lambda: service.host.shows(UNIT, "StatusText") == "workers assigned: 2 of 2",
        PATIENCE,
        "systemctl status says so",
    )


@pytest.mark.timeout(400)
def test_reload_waits_for_what_is_new_and_fails_for_what_is_wrong(service):
    service.starts()
    before = service.pid

    service.set_workers(3)
    assert service.host.systemctl("reload", UNIT)[0] == 0
    wait_until(
        lambda: service.host.shows(UNIT, "StatusText") == "workers assigned: 3 of 3",
        PATIENCE,
        "there are three",
    )
    service.set_workers(1, "\ncomit_strategy = 1")
    assert service.host.systemctl("reload", UNIT)[0] != 0

    assert "consumers.orders.comit_strategy: is an unknown key" in service.host.journal(UNIT)
    assert (service.pid, service.host.shows(UNIT, "ActiveState")) == (before, "active")


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("how", "result"), [("SIGSTOP", "watchdog"), ("SIGKILL", "signal")])
def test_a_supervisor_that_hangs_or_is_killed_is_started_anew(service, how, result):
    service.starts()
    before = service.pid

    service.host.signal(before, signal.Signals[how])

    wait_until(
        lambda: (
            service.pid not in {before, "0"} and service.host.shows(UNIT, "ActiveState") == "active"
        ),
        PATIENCE,
        "another one runs, with every worker assigned",
    )
    assert f"Failed with result '{result}'" in service.host.journal(UNIT)
    assert service.host.shows(UNIT, "NRestarts") == "1"


@pytest.mark.timeout(400)
def test_stop_drains_and_is_a_success(service):
    service.starts()

    assert service.host.systemctl("stop", UNIT)[0] == 0

    assert service.host.shows(UNIT, "Result") == "success"
    assert '"supervisor ended: clean"' in service.host.journal(UNIT)


@pytest.mark.timeout(400)
def test_a_configuration_that_is_not_valid_is_not_tried_again(service):
    service.write("comit_strategy = 1\n")

    assert service.host.systemctl("start", UNIT)[0] != 0

    assert service.host.shows(UNIT, "ExecMainStatus") == "78"
    assert service.host.shows(UNIT, "ActiveState") == "failed"
    assert service.host.shows(UNIT, "NRestarts") == "0"


@pytest.mark.timeout(400)
def test_the_template_runs_a_second_fleet_beside_the_first(service):
    second = '[supervisor]\ninstance_id = "second"\n'
    service.write(name="second")
    file = service.host.root / "etc/flowodm/second.toml"
    file.write_text(file.read_text().replace("[supervisor]\n", second))

    service.starts()
    service.starts(SECOND)

    assert service.host.shows(UNIT, "ActiveState") == "active"
    assert service.host.shows(SECOND, "ActiveState") == "active"
