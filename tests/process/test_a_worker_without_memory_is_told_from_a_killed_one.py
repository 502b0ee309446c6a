"""The kernel's out-of-memory killer sends SIGKILL too; what it counts tells the two apart."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from supervisor.fleet import fleet as fleets_of
from supervisor.process.oom import OomKills
from support.fleets.fleets import PATIENCE, Host, assigned, embedded, slots, until
from support.waiting import wait_until

QUICK = {"restart": {"initial": "10ms"}}
CGROUPS = Path("/sys/fs/cgroup/memory")


async def restarted(supervisor):
    return await until(
        lambda: (slot := slots(supervisor)["orders/0"])["restarts"] and assigned(slot) and slot,
        "another one is assigned",
    )


@pytest.mark.parametrize(("kills", "reason"), [(1, "out_of_memory"), (0, "signal")])
async def test_a_sigkill_is_counted_under_what_the_kernel_says_of_it(monkeypatch, kills, reason):
    count = 3
    monkeypatch.setattr(fleets_of, "OomKills", lambda _counter: OomKills(lambda: count))
    async with embedded({"orders": ("steady", QUICK)}) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        count += kills
        os.kill(slots(supervisor)["orders/0"]["pid"], signal.SIGKILL)

        slot = await restarted(supervisor)

    assert slot["restarts_by_reason"] == {reason: 1}
    assert ("no memory" in slot["last_failure"]["message"]) is bool(kills)


@pytest.fixture
def small_cgroup():
    """A memory cgroup of 256 MB, empty."""
    folder = CGROUPS / f"flowodm-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text("256M")
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield folder
    finally:
        procs = folder / "cgroup.procs"
        wait_until(lambda: not procs.read_text(), PATIENCE, "all its processes have ended")
        folder.rmdir()


def test_a_worker_that_the_kernel_really_kills_is_recognised(small_cgroup, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Host({"orders": ("takes_all_memory", QUICK)}, f"cgroup={small_cgroup}") as host:
        host.until_ready()
        (tmp_path / "go").touch()
        slot = wait_until(
            lambda: (slot := host.slots()[0])["restarts"] and assigned(slot) and slot,
            PATIENCE,
            "another one is assigned",
        )

    assert slot["last_failure"]["reason"] == "out_of_memory"
