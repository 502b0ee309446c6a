"""The real command under a stand-in for systemd, with stand-ins for workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from supervisor import SupervisorConfig
from supervisor.changes.changes import ChangeRefusedError
from supervisor.process.proc_stat import is_stopped
from supervisor.report import ExitStatus
from supervisor.systemd.notifier import Notifier
from support.fleets.fleets import HOSTS, PATIENCE, assigned, embedded, fleet, slots, until
from support.fleets.notify_socket import abstract_address, notify_socket
from support.paths import PYTHONPATH
from support.waiting import wait_until

WATCHDOG = 0.8
"""Seconds: far below the second after which an idle main loop would turn by itself."""

TOML = """
[supervisor]
http = ""
control_socket = ""
log_format = "json"
instance_id = "test"
preload = ["standins"]
drain_timeout = "10s"
"""


@pytest.fixture
def manager(tmp_path):
    with notify_socket(tmp_path / "notify") as listening:
        yield listening


@contextlib.contextmanager
def service(folder, manager, *behaviours, watchdog=WATCHDOG, watchdog_pid=None):
    """The command as systemd starts it, for as long as the context is open."""
    tables = [
        f'[consumers.c{n}]\nmodel = "stand:In"\nhandler = "standin:{behaviour}"\n'
        for n, behaviour in enumerate(behaviours)
    ]
    (folder / "fleet.toml").write_text(TOML + "".join(tables))
    # The shell gives its own pid, which exec keeps: the way systemd sets WATCHDOG_PID.
    script = f'WATCHDOG_PID={watchdog_pid or "$$"} exec "$@"'
    command = [sys.executable, HOSTS / "command_host.py", "run", "fleet.toml"]
    variables = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": str(int(watchdog * 1e6)),
        "PYTHONPATH": PYTHONPATH,
    }
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            ["sh", "-c", script, "sh", *command],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()


def names(manager):
    """What was received in order, without what comes again and again."""
    quiet = {"STATUS", "WATCHDOG"}
    return [name for fields in manager.take() for name in fields if name not in quiet]


def descendants(pid):
    """The processes below one, and below those."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in children for found in (child, *descendants(child))]


def test_ready_comes_when_every_consumer_is_assigned_and_not_before(tmp_path, manager):
    with service(tmp_path, manager, "steady", "assigned_when_told"):
        manager.until("STATUS", "workers assigned: 1 of 2")
        alive = len(manager.all("WATCHDOG"))
        wait_until(lambda: len(manager.all("WATCHDOG")) > alive + 3, PATIENCE, "turns went by")
        assert names(manager) == []
        (tmp_path / "assign").touch()
        manager.until("READY", "1")
        manager.until("STATUS", "workers assigned: 2 of 2")
        assert names(manager) == ["READY"]


def test_sigterm_is_told_as_stopping_and_a_drain_that_moves_asks_for_time(tmp_path, manager):
    with service(tmp_path, manager, "steady", "slow_to_stop") as process:
        manager.until("READY", "1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == ExitStatus.CLEAN
    told = names(manager)
    assert told[:3] == ["READY", "STOPPING", "EXTEND_TIMEOUT_USEC"]
    assert set(told[3:]) <= {"EXTEND_TIMEOUT_USEC"}
    assert all(0 < int(usec) <= 30_000_000 for usec in manager.all("EXTEND_TIMEOUT_USEC"))
    assert any(text.startswith("stopping; ") for text in manager.all("STATUS"))


def test_a_fleet_that_fails_for_good_is_told_as_stopping_and_was_never_ready(tmp_path, manager):
    with service(tmp_path, manager, "misconfigured") as process:
        assert process.wait(PATIENCE) == ExitStatus.FAILED
    assert names(manager) == ["STOPPING"]


def test_at_an_abstract_address_it_is_the_same(tmp_path):
    with notify_socket(abstract_address()) as manager, service(tmp_path, manager, "steady") as run:
        manager.until("READY", "1")
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE) == ExitStatus.CLEAN
        assert names(manager)[:2] == ["READY", "STOPPING"]


def test_a_supervisor_that_hangs_is_silent_and_one_that_goes_on_is_heard_again(tmp_path, manager):
    with service(tmp_path, manager, "steady") as process:
        manager.until("READY", "1")
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_stopped(process.pid), PATIENCE, "it is stopped")
        assert manager.silent(3 * WATCHDOG)
        alive = len(manager.all("WATCHDOG"))
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(manager.all("WATCHDOG")) > alive, PATIENCE, "it is heard again")


def test_a_watchdog_shorter_than_a_second_hears_an_idle_main_loop_in_time(tmp_path, manager):
    with service(tmp_path, manager, "steady", watchdog=0.4):
        manager.until("READY", "1")
        alive = len(manager.all("WATCHDOG"))
        # By turns of a second it would take ten of them.
        wait_until(lambda: len(manager.all("WATCHDOG")) >= alive + 10, 6.0, "ten signs of life")


def test_the_watchdog_of_another_process_is_not_fed(tmp_path, manager):
    with service(tmp_path, manager, "steady", watchdog_pid=1) as process:
        manager.until("READY", "1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == ExitStatus.CLEAN
    assert manager.all("WATCHDOG") == []


def test_neither_workers_nor_their_fork_server_inherit_the_socket(tmp_path, manager):
    with service(tmp_path, manager, "steady") as process:
        manager.until("READY", "1")
        below = descendants(process.pid)
        assert len(below) == 2
        for pid in below:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"PATH=" in environment
            assert b"NOTIFY_SOCKET" not in environment
            assert b"WATCHDOG_" not in environment


def test_a_socket_that_nobody_reads_holds_up_nothing_and_gets_ready_when_it_is_read(
    tmp_path, manager
):
    manager.fill()
    with service(tmp_path, manager, "steady") as process:
        log = tmp_path / "log"
        wait_until(
            lambda: "every worker is assigned" in log.read_text(), PATIENCE, "the fleet is ready"
        )
        manager.until("READY", "1")
        manager.fill()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == ExitStatus.CLEAN
        assert log.read_text().count("cannot notify the service manager") == 1


def hanging(gate, entered):
    """An observer that holds up the main loop, for as long as the gate is shut."""

    def observer(_fleet):
        if not gate.is_set():
            entered.set()
            gate.wait()

    return observer


def test_a_main_loop_that_hangs_is_silent_while_its_process_goes_on(manager):
    gate, entered = threading.Event(), threading.Event()
    gate.set()
    observers = [Notifier(manager.address, WATCHDOG), hanging(gate, entered)]
    with embedded({"orders": "steady"}, observers=observers, turn=WATCHDOG / 4):
        manager.until("READY", "1")
        gate.clear()
        try:
            assert entered.wait(PATIENCE)
            assert manager.silent(3 * WATCHDOG)
            alive = len(manager.all("WATCHDOG"))
        finally:
            gate.set()
        wait_until(lambda: len(manager.all("WATCHDOG")) > alive, PATIENCE, "it is heard again")


def change(supervisor, commit_interval, **table):
    """Ask for a reload with one consumer that differs, and wait for the answer."""
    consumers = {"orders": ("steady", {"workers": 2, "commit_interval": commit_interval})}
    config = SupervisorConfig.model_validate(fleet(consumers, **table))
    return supervisor.reload(config).exception(PATIENCE)


def test_a_reload_is_told_when_it_begins_and_when_the_last_new_worker_is_assigned(manager):
    fleet_of_two = {"orders": ("steady", {"workers": 2})}
    with embedded(fleet_of_two, observers=[Notifier(manager.address)]) as supervisor:
        manager.until("READY", "1")
        old = {slot["pid"] for slot in slots(supervisor).values()}
        before = time.monotonic()
        assert change(supervisor, "2s") is None
        wait_until(lambda: names(manager).count("READY") == 2, PATIENCE, "the end is told")
        now = slots(supervisor).values()
        assert not old & {slot["pid"] for slot in now}
        assert all(assigned(slot) for slot in now)
    told = names(manager)
    assert told[:4] == ["READY", "RELOADING", "MONOTONIC_USEC", "READY"]
    (since,) = manager.all("MONOTONIC_USEC")
    assert before <= int(since) / 1e6 <= time.monotonic()


def test_a_refused_reload_is_told_as_begun_and_ended(manager):
    fleet_of_two = {"orders": ("steady", {"workers": 2})}
    with embedded(fleet_of_two, observers=[Notifier(manager.address)]) as supervisor:
        manager.until("READY", "1")
        assert isinstance(change(supervisor, "2s", instance_id="another"), ChangeRefusedError)
        wait_until(lambda: names(manager).count("READY") == 2, PATIENCE, "the end is told")
    assert names(manager)[:4] == ["READY", "RELOADING", "MONOTONIC_USEC", "READY"]


async def test_a_supervisor_inside_another_program_does_not_speak_for_it(manager, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    async with embedded({"orders": "steady"}) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
    assert manager.take() == []
    assert os.environ["NOTIFY_SOCKET"] == manager.address


async def test_an_observer_that_raises_is_logged_and_not_called_again(caplog):
    calls, seen = [], []

    def broken(fleet):
        calls.append(fleet)
        raise ValueError("no idea")

    async with embedded({"orders": "steady"}, observers=[broken, seen.append]) as supervisor:
        await until(lambda: any(fleet.ready for fleet in seen), "the other one is called on")
        assert supervisor.ready
    assert len(calls) == 1
    assert sum("an observer failed" in record.getMessage() for record in caplog.records) == 1
    assert seen[-1].stopping
