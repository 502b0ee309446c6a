"""A worker that lives and does not work: its stacks are logged, then it is made to end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from support.fleets.fleets import PATIENCE, Host, alive, assigned, embedded, slots, until
from support.waiting import wait_until

SHORT = {"silence_timeout": "2s", "dump_delay": "100ms", "drain_timeout": "300ms"}
QUICK = {**SHORT, "restart": {"initial": "10ms"}}
SUM = 2 + 0.1 + 0.3 + 0.2
"""Seconds from the last heartbeat until SIGKILL."""


def replaced(slot, pid):
    return slot["restarts"] and assigned(slot) and slot["pid"] != pid and slot


async def test_a_stopped_worker_is_replaced_within_the_sum_of_its_delays(caplog):
    consumers = {"orders": ("steady", {"workers": 2, **QUICK})}
    async with embedded(consumers, turn=0.1, kill_delay="200ms") as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        before = slots(supervisor)
        pid = before["orders/0"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()

        slot = await until(lambda: replaced(slots(supervisor)["orders/0"], pid), "replaced")

        assert time.monotonic() - began < SUM + 3, "and a start on a busy machine"
        assert not alive(pid)
        assert slot["restarts_by_reason"] == {"hung": 1}
        assert slot["last_failure"]["reason"] == "hung"
        assert "no heartbeat for 2" in slot["last_failure"]["message"]
        assert slots(supervisor)["orders/1"]["pid"] == before["orders/1"]["pid"]
    told = [record.getMessage() for record in caplog.records]
    assert any("hangs: no heartbeat" in line and "a signal has stopped it" in line for line in told)


def test_while_code_in_c_keeps_the_interpreters_lock_the_stacks_are_written_all_the_same(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with Host({"orders": ("keeps_the_lock", QUICK)}, kill_delay="200ms") as host:
        host.until_ready()
        Path("go").touch()
        wait_until(lambda: host.slots()[0]["restarts"], PATIENCE, "it was replaced")
        host.signal(signal.SIGQUIT)
        host.wait()
    dump = host.errors.index("in keeps_the_lock")
    assert dump < host.errors.index("the drain deadline passed: SIGTERM")


@pytest.mark.parametrize(
    ("behaviour", "limit", "reason", "why"),
    [
        ("handles_one_for_ever", {"handler_timeout": "1s"}, "hung", "a handler has been running"),
        (
            "leaves_a_partition_where_it_is",
            {"stall_timeout": "1s"},
            "stalled",
            "standin/3 has stood at offset 17",
        ),
    ],
)
def test_its_control_thread_names_every_thread_before_it_ends(behaviour, limit, reason, why):
    with Host({"orders": (behaviour, {**QUICK, **limit})}, kill_delay="200ms") as host:
        slot = wait_until(
            lambda: (slot := host.slots()[0])["last_failure"] and slot, PATIENCE, "it was replaced"
        )
        host.signal(signal.SIGQUIT)
        host.wait()
    assert slot["restarts_by_reason"].keys() == {reason}
    assert why in slot["last_failure"]["message"]
    assert slot["complaint"] is None, "that was its predecessor's"
    events = [line["event"] for line in host.log()]
    found = next(n for n, event in enumerate(events) if event.startswith("the worker hangs"))
    stacks = next(line["stacks"] for line in host.log() if "stacks" in line)
    assert found < events.index("the supervisor considers this worker hung")
    assert any("MainThread" in name and behaviour in text for name, text in stacks.items())
