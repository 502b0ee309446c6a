"""Fleets of stand-in workers for process tests: embedded here, or in a host process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import standins

from supervisor import Supervisor, SupervisorConfig
from supervisor.daemon import TURN
from supervisor.process.proc_stat import read_stat
from supervisor.slot.machine import READY
from support.paths import PYTHONPATH
from support.waiting import wait_until, wait_until_async

HOSTS = Path(__file__).parent
"""Programs that run a supervisor as the command does, with stand-in workers."""
PATIENCE = 20.0
"""Seconds after which something that should happen at once counts as not happening."""


def fleet(consumers, **supervisor):
    """A configuration; each consumer is its stand-in's name, or (name, further options)."""
    tables = {}
    for name, what in consumers.items():
        behaviour, options = (what, {}) if isinstance(what, str) else what
        tables[name] = {"model": "stand:In", "handler": f"standin:{behaviour}", **options}
    table = {"http": "", "log_format": "json", "instance_id": "test", "preload": ["standins"]}
    return {"supervisor": {**table, **supervisor}, "consumers": tables}


def embedded(consumers, *, observers=(), turn=TURN, **supervisor):
    """A Supervisor of stand-ins in this process, not yet running."""
    config = SupervisorConfig.model_validate(fleet(consumers, **supervisor))
    return Supervisor(config, entry=standins.ENTRY, observers=observers, turn=turn)


def slots(supervisor):
    """Each slot's part of /status, as {"orders/0": {...}}."""
    return {
        f"{name}/{slot['slot']}": slot
        for name, consumer in supervisor.status()["consumers"].items()
        for slot in consumer["slots"]
    }


def assigned(slot):
    return slot["state"] in {state.value for state in READY}


async def until(condition, what):
    """Wait on the event loop until the condition's answer is true."""
    return await wait_until_async(condition, PATIENCE, what)


def alive(pid):
    """Whether the process runs; one that is dead and waits to be reaped does not."""
    stat = read_stat(pid)
    return stat is not None and stat.state not in {"Z", "X"}


def until_dead(pids, timeout=PATIENCE):
    wait_until(lambda: not any(alive(pid) for pid in pids), timeout, f"all of {pids} are dead")


class Host:
    """A program that runs a supervisor as the command does, with stand-in workers."""

    def __init__(self, consumers, *flags, terminal=None, **supervisor):
        config = fleet(consumers, **{"http": "127.0.0.1:0", **supervisor})
        if terminal is not None:
            flags = (*flags, "terminal")
        self.process = subprocess.Popen(
            [sys.executable, HOSTS / "fleet_host.py", json.dumps(config), *flags],
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdout=subprocess.PIPE,
            stdin=terminal,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # only a session's leader may have a terminal
        )
        self.pid = self.process.pid
        self.errors = ""
        self.url = ""

    def __enter__(self):
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.communicate(timeout=PATIENCE)[1]
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def get(self, path):
        """Status code and body."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def slots(self):
        status = json.loads(self.get("/status")[1])
        return [slot for c in status["consumers"].values() for slot in c["slots"]]

    def pids(self):
        return [slot["pid"] for slot in self.slots() if slot["pid"]]

    def until_ready(self):
        wait_until(lambda: self.get("/readyz")[0] == 200, PATIENCE, "the fleet is ready")
        return self.pids()

    def signal(self, number):
        self.process.send_signal(number)

    def signal_group(self, number):
        os.killpg(self.pid, number)

    def wait(self):
        """The exit status; what it logged is then in `errors`."""
        _, self.errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def log(self):
        """Every line that was logged, after `wait`."""
        return [json.loads(line) for line in self.errors.splitlines() if line.startswith("{")]


@contextlib.contextmanager
def killed_in_the_end(pids):
    """Leave no process behind if a test fails."""
    try:
        yield
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
