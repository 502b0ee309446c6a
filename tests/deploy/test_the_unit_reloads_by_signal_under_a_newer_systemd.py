"""Type=notify-reload, for which systemd 253 is needed: what docs/systemd.md says of it."""

from __future__ import annotations

import pytest

from support.deploy.debian import TRIXIE
from support.deploy.systemd_machine import machine
from support.deploy.systemd_service import PATIENCE, UNIT, Service
from support.docs.fenced_blocks import blocks_in
from support.waiting import wait_until


@pytest.fixture
def service(kafka, topic):
    (drop_in,) = (block.source for block in blocks_in("ini") if "notify-reload" in block.source)
    with machine(TRIXIE) as host:
        yield Service(host, kafka, topic, drop_in)
        host.systemctl("stop", UNIT)


@pytest.mark.timeout(600)  # the machine is made
def test_reload_returns_when_what_is_new_runs_and_does_not_tell_that_a_file_is_wrong(service):
    service.starts()
    before = service.pid
    assert service.host.shows(UNIT, "Type") == "notify-reload"

    service.set_workers(3)
    assert service.host.systemctl("reload", UNIT)[0] == 0

    # READY=1 comes with the last worker, and the status with it or behind it.
    wait_until(
        lambda: service.host.shows(UNIT, "StatusText") == "workers assigned: 3 of 3",
        PATIENCE,
        "there are three",
    )
    service.set_workers(1, "\ncomit_strategy = 1")
    assert service.host.systemctl("reload", UNIT)[0] == 0

    service.says("consumers.orders.comit_strategy: is an unknown key")
    assert (service.pid, service.host.shows(UNIT, "ActiveState")) == (before, "active")
