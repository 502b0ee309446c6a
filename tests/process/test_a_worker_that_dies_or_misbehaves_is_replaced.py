from __future__ import annotations

import os
import signal

import pytest

from supervisor.process import worker_process as process
from supervisor.report import ExitStatus
from support.fleets.fleets import alive, assigned, embedded, slots, until

QUICK = {"restart": {"initial": "10ms", "limit": 3}}


async def test_after_sigkill_the_next_one_is_assigned_and_its_counters_go_on():
    supervisor = embedded({"orders": ("steady", {"workers": 2, **QUICK})}, http="127.0.0.1:0")
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        before = slots(supervisor)
        os.kill(before["orders/0"]["pid"], signal.SIGKILL)
        after = await until(
            lambda: (slot := slots(supervisor)["orders/0"])["restarts"] and assigned(slot) and slot,
            "it was restarted",
        )
        assert after["last_failure"]["reason"] == "signal"
        assert after["processed"] > before["orders/0"]["processed"]
        assert slots(supervisor)["orders/1"]["pid"] == before["orders/1"]["pid"]
        text = supervisor._exposition.render("")[0].decode()
        assert f'pid="{before["orders/0"]["pid"]}"' not in text, "a dead worker's gauges are gone"
    assert supervisor.report.status is ExitStatus.CLEAN


async def test_sigterm_from_outside_drains_it_and_another_one_follows():
    supervisor = embedded({"orders": ("steady", QUICK)})
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        pid = slots(supervisor)["orders/0"]["pid"]
        os.kill(pid, signal.SIGTERM)
        await until(
            lambda: (slot := slots(supervisor)["orders/0"])["restarts"] and assigned(slot),
            "another one is assigned",
        )
        assert slots(supervisor)["orders/0"]["last_failure"] is None
    assert supervisor.report.status is ExitStatus.CLEAN


async def test_a_worker_that_breaks_the_protocol_is_killed_and_in_the_end_failed():
    supervisor = embedded({"odd": ("garbler", QUICK), "good": "steady"})
    async with supervisor:
        odd = await until(
            lambda: (slot := slots(supervisor)["odd/0"])["state"] == "failed" and slot, "failed"
        )
        assert odd["last_failure"]["reason"] == "killed"
        assert "not a frame of protocol version 1" in odd["last_failure"]["message"]
        await until(lambda: assigned(slots(supervisor)["good/0"]), "the other one is assigned")


async def test_what_it_said_before_it_died_is_heard_to_the_end(monkeypatch):
    monkeypatch.setattr(process, "_RECEIVE", 100)  # so that its death is seen in the middle
    supervisor = embedded({"orders": ("last_words", {"restart": {"policy": "on_failure"}})})
    await supervisor.run()
    assert slots(supervisor)["orders/0"]["processed"] == 4711


async def test_a_stopped_worker_does_not_hold_up_the_end():
    supervisor = embedded({"orders": "steady"}, drain_timeout="300ms", kill_delay="200ms")
    async with supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        pid = slots(supervisor)["orders/0"]["pid"]
        os.kill(pid, signal.SIGSTOP)
    assert supervisor.report.workers[0].killed
    assert not alive(pid)


@pytest.mark.parametrize("what", ["ended_by_itself", "failed_and_stays", "said_farewell_and_stays"])
async def test_one_that_ends_by_itself_but_whose_process_stays_is_killed_and_replaced(what):
    supervisor = embedded(
        {"orders": (what, QUICK)},
        drain_timeout="200ms",
        kill_delay="100ms",
    )
    async with supervisor:
        slot = await until(
            lambda: (slot := slots(supervisor)["orders/0"])["restarts"] and slot, "it was restarted"
        )
        assert slot["last_failure"]["reason"] == "killed"
