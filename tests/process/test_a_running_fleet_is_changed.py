"""A running supervisor takes another configuration, restarts and scales, one worker at a time."""

from __future__ import annotations

import asyncio

import pytest

from supervisor import SupervisorConfig
from supervisor.changes.changes import ChangeRefusedError
from support.fleets.fleets import alive, embedded, fleet, slots, until


def config(consumers, **supervisor):
    return SupervisorConfig.model_validate(fleet(consumers, **supervisor))


def pids(supervisor):
    return {name: slot["pid"] for name, slot in slots(supervisor).items()}


async def ready(supervisor, what="every worker is assigned"):
    await until(lambda: supervisor.ready, what)
    return pids(supervisor)


async def settled(supervisor):
    """Wait until nothing is being replaced and every worker is assigned."""
    await until(lambda: supervisor.ready and not supervisor.changing, "the change is through")
    return pids(supervisor)


async def changed(answer):
    return await asyncio.wrap_future(answer)


async def test_a_reload_replaces_only_the_consumer_that_changed():
    before = {"orders": ("steady", {"workers": 2}), "mail": ("steady", {"workers": 2})}
    after = {**before, "orders": ("steady", {"workers": 2, "commit_interval": "2s"})}
    async with embedded(before) as supervisor:
        old = await ready(supervisor)

        change = await changed(supervisor.reload(config(after)))
        new = await settled(supervisor)

    assert change.replaced == ("orders/0", "orders/1")
    assert {name for name in old if old[name] != new[name]} == {"orders/0", "orders/1"}


async def test_one_worker_at_a_time_is_away():
    options = {"workers": 4}
    away = []
    async with embedded({"orders": ("slow_to_stop", options)}) as supervisor:
        await ready(supervisor)
        await changed(supervisor.restart())
        while supervisor.changing:
            states = [slot["state"] for slot in slots(supervisor).values()]
            away.append(sum(state not in {"assigned", "processing"} for state in states))
            await asyncio.sleep(0.01)  # samples; the end is observed

    assert max(away) == 1


async def test_workers_go_on_until_the_new_fork_server_has_imported_its_modules(
    tmp_path, monkeypatch
):
    (tmp_path / "slow_to_import.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "while Path('hold').exists():\n    time.sleep(0.02)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    turns = []
    preload = ["standins", "slow_to_import"]
    async with embedded(
        {"orders": "steady"}, observers=[turns.append], preload=preload
    ) as supervisor:
        old = await ready(supervisor)
        (tmp_path / "hold").touch()
        try:
            await changed(supervisor.restart())
            count = len(turns) + 10
            await until(lambda: len(turns) > count, "the main loop has turned several times")
            assert pids(supervisor) == old
            assert supervisor.ready
            assert supervisor.changing
        finally:
            (tmp_path / "hold").unlink()

        assert await settled(supervisor) != old


async def test_the_same_configuration_changes_nothing():
    consumers = {"orders": ("steady", {"workers": 2})}
    async with embedded(consumers) as supervisor:
        old = await ready(supervisor)

        change = await changed(supervisor.reload(config(consumers)))

        assert change == type(change)()
        assert await settled(supervisor) == old


async def test_consumers_come_and_go():
    async with embedded({"orders": "steady", "mail": "steady"}) as supervisor:
        old = await ready(supervisor)

        await changed(supervisor.reload(config({"orders": "steady", "audit": "steady"})))
        new = await settled(supervisor)
        await until(lambda: "mail/0" not in slots(supervisor), "the removed one is forgotten")

        assert new.keys() - {"mail/0"} == {"orders/0", "audit/0"}
        assert new["orders/0"] == old["orders/0"]
        assert not alive(old["mail/0"])


async def test_scaling_up_and_down_leaves_the_others_alone():
    async with embedded({"orders": ("steady", {"workers": 2})}) as supervisor:
        old = await ready(supervisor)

        await changed(supervisor.scale("orders", 4))
        grown = await settled(supervisor)
        assert grown.keys() == {f"orders/{n}" for n in range(4)}
        assert {name: grown[name] for name in old} == old

        await changed(supervisor.scale("orders", 1))
        await until(lambda: len(slots(supervisor)) == 1, "three are gone")
        assert pids(supervisor) == {"orders/0": old["orders/0"]}


async def test_a_change_that_does_not_work_does_not_reach_the_other_workers(monkeypatch):
    monkeypatch.setattr("supervisor.changes.changes.PATIENCE", 1.0)
    async with embedded({"orders": ("steady", {"workers": 3})}) as supervisor:
        old = await ready(supervisor)

        await changed(supervisor.reload(config({"orders": ("slow_to_start", {"workers": 3})})))
        await until(lambda: not supervisor.changing, "the rollout is given up")
        assert supervisor.status()["given_up"].startswith("orders/0: ")
        new = pids(supervisor)

        assert {name for name in old if old[name] != new[name]} == {"orders/0"}


async def test_a_reload_tries_again_what_had_failed_for_good():
    async with embedded({"orders": "misconfigured", "mail": "steady"}) as supervisor:
        failed = await until(
            lambda: slots(supervisor)["orders/0"]["state"] == "failed", "it has failed for good"
        )
        assert failed

        await changed(supervisor.reload(config({"orders": "steady", "mail": "steady"})))

        await ready(supervisor)


async def test_pinned_partitions_are_never_held_by_two_workers():
    before = {"orders": ("slow_to_stop", {"partition_groups": [[0, 1], [2, 3]]})}
    after = {"orders": ("slow_to_stop", {"partition_groups": [[0], [1, 2], [3]]})}
    async with embedded(before) as supervisor:
        old = await ready(supervisor)

        await changed(supervisor.reload(config(after)))
        await until(lambda: slots(supervisor)["orders/2"]["pid"], "a new one has started")
        assert not any(alive(pid) for pid in old.values())

        assert len(await settled(supervisor)) == 3


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda s: s.restart("order"), "no consumer 'order'; there are orders"),
        (lambda s: s.restart("orders", 7), "orders has no slot 7"),
        (lambda s: s.scale("orders", 0), "workers must be from 1"),
        (lambda s: s.scale("nobody", 1), "no consumer 'nobody'"),
        (
            lambda s: s.reload(config({"orders": "steady"}, instance_id="other")),
            "supervisor.instance_id cannot change",
        ),
    ],
)
async def test_a_request_that_makes_no_sense_changes_nothing_and_says_why(ask, why):
    async with embedded({"orders": "steady"}) as supervisor:
        old = await ready(supervisor)

        with pytest.raises(ChangeRefusedError, match=why):
            await changed(ask(supervisor))

        assert await settled(supervisor) == old


async def test_the_report_tells_of_a_slot_that_was_retired_and_still_drained_at_the_stop():
    consumers = {"orders": ("stubborn", {"workers": 2})}
    async with embedded(consumers, drain_timeout="500ms", kill_delay="100ms") as supervisor:
        await ready(supervisor)
        await changed(supervisor.scale("orders", 1))
        await until(
            lambda: slots(supervisor)["orders/1"]["state"] == "draining", "one is not wanted"
        )
        supervisor.stop()

    ended = {worker.slot: worker.killed for worker in supervisor.report.workers}
    assert ended == {0: True, 1: True}
    assert supervisor.report.status != 0


async def test_a_stop_in_the_middle_of_a_rollout_ends_everything():
    async with embedded({"orders": ("slow_to_stop", {"workers": 3})}) as supervisor:
        old = await ready(supervisor)
        await changed(supervisor.restart())
        supervisor.stop()

    assert not any(alive(pid) for pid in old.values())
    assert supervisor.report.status == 0
    with pytest.raises(ChangeRefusedError, match="stopping"):
        await asyncio.wait_for(changed(supervisor.restart()), 5)
