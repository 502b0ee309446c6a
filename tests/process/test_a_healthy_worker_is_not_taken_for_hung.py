"""Whatever takes long for a good reason is left alone, also with short limits."""

from __future__ import annotations

import os
import signal
import time

from support.fleets.fleets import PATIENCE, Host, assigned, embedded, slots, until
from support.waiting import wait_until

SHORT = {"silence_timeout": "2s", "handler_timeout": "500ms", "stall_timeout": "500ms"}


def unharmed(slot, pid):
    """Neither replaced nor about to be."""
    return (slot["pid"], slot["restarts"]) == (pid, 0) and assigned(slot)


async def test_an_idle_worker_is_left_alone():
    async with embedded({"orders": ("steady", SHORT)}, turn=0.1) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        pid = slots(supervisor)["orders/0"]["pid"]
        beats = slots(supervisor)["orders/0"]["processed"]
        await until(
            lambda: slots(supervisor)["orders/0"]["processed"] > beats + 3,
            "more heartbeats came than any limit has room for",
        )
        assert unharmed(slots(supervisor)["orders/0"], pid)


async def test_a_worker_that_is_silent_while_it_starts_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    consumers = {"orders": ("silent_while_it_starts", SHORT)}
    async with embedded(consumers, turn=0.1) as supervisor:
        slot = await until(
            lambda: (s := slots(supervisor)["orders/0"])["state_seconds"] > 4.5 and s,
            "it was silent for longer than its limit",
        )
        assert slot["state"] == "starting"
        (tmp_path / "assign").touch()
        await until(lambda: supervisor.ready, "it is ready")
        assert unharmed(slots(supervisor)["orders/0"], slot["pid"])


def test_nobody_is_blamed_for_the_time_in_which_the_whole_machine_stood_still():
    with Host({"orders": ("steady", {"silence_timeout": "3s", "workers": 2})}) as host:
        pids = host.until_ready()
        wait_until(lambda: host.slots()[1]["processed"] > 3, PATIENCE, "they have been looked at")
        for pid in [*pids, host.pid]:
            os.kill(pid, signal.SIGSTOP)
        thaw_at = time.monotonic() + 5
        wait_until(lambda: time.monotonic() > thaw_at, PATIENCE, "that was longer than the limit")
        host.signal(signal.SIGCONT)
        silent = wait_until(
            lambda: (s := host.slots())[0]["heartbeat_age_seconds"] > 5 and s,
            PATIENCE,
            "it is back",
        )
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        heard = [slot["processed"] for slot in silent]
        wait_until(
            lambda: (
                [slot["processed"] > n + 1 for slot, n in zip(host.slots(), heard, strict=True)]
                == [True, True]
            ),
            PATIENCE,
            "it hears its workers again",
        )
        for slot, pid in zip(host.slots(), pids, strict=True):
            assert unharmed(slot, pid)
        host.signal(signal.SIGTERM)
        assert host.wait() == 0
