"""max_messages, max_lifetime, max_rss: another process takes the place, one at a time."""

from __future__ import annotations

import asyncio

import pytest

from support.fleets.fleets import embedded, slots, until

READY = {"assigned", "processing"}


async def test_each_worker_is_replaced_after_its_records_and_one_at_a_time_is_away():
    consumers = {"orders": ("steady", {"workers": 3, "max_messages": 3})}
    away = []
    async with embedded(consumers) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        while not all(slot["restarts"] for slot in slots(supervisor).values()):
            away.append(sum(s["state"] not in READY for s in slots(supervisor).values()))
            await asyncio.sleep(0.01)  # samples; the end is observed, and the test has a time-out
        found = slots(supervisor)
    assert max(away) == 1
    for slot in found.values():
        assert slot["restarts_by_reason"].keys() == {"recycled"}
        assert slot["last_failure"] is None
    assert supervisor.report.status == 0


@pytest.mark.parametrize(
    ("limit", "why"),
    [({"max_lifetime": "1s"}, "it has run for"), ({"max_rss": "1MB"}, "MB of memory")],
)
async def test_so_it_is_with_age_and_memory_and_the_log_says_why(limit, why, caplog):
    caplog.set_level("INFO", "supervisor")
    async with embedded({"orders": ("steady", {**limit, "recycle_jitter": 0})}) as supervisor:
        slot = await until(
            lambda: (s := slots(supervisor)["orders/0"])["restarts"] and s, "it was replaced"
        )
        assert slot["restarts_by_reason"].keys() == {"recycled"}
    changes = supervisor.state_changes()
    assert "it is replaced: recycled" in [change["why"] for change in changes]
    told = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("the worker is to be recycled") and why in line for line in told)


async def test_a_worker_within_its_limits_stays():
    limits = {"max_messages": 10**6, "max_lifetime": "1h", "max_rss": "1TB"}
    async with embedded({"orders": ("steady", limits)}) as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        await until(lambda: slots(supervisor)["orders/0"]["processed"] > 3, "it works")
        assert slots(supervisor)["orders/0"]["restarts"] == 0
