"""Static membership outlives a member's end, but not a handler that never returns."""

from __future__ import annotations

import pytest

from support.loops import PATIENCE, Gate, brisk
from support.members import PROTOCOLS, SESSION_MS
from support.waiting import wait_until


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_hung_handler_frees_the_partitions_of_a_static_member(new_bench, protocol):
    """And when the handler has returned after all, the member comes back under its name."""
    bench, late, seen, others = new_bench(partitions=2), [], [], []
    bench.produce(range(20), partition=lambda n: n % 2)
    settings = brisk(
        session_timeout_ms=SESSION_MS,
        max_poll_interval_ms=SESSION_MS,
        extra_config=PROTOCOLS[protocol],
    )
    with Gate() as gate:

        def handle(message) -> None:
            if message.n == 0 and not late:
                late.append(message.n)
                gate.wait()
            else:
                seen.append(message.n)

        hung = bench.run("sync", handle, settings=settings, group_instance_id="hung")
        with hung:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler hangs")
            wait_until(lambda: "left" in hung.events.rebalances(), PATIENCE, "the member left")
            other = bench.run(
                "sync", lambda m: others.append(m.n), settings=settings, group_instance_id="other"
            )
            with other:
                wait_until(lambda: 0 in others, PATIENCE, "another member handles the record")
                wait_until(lambda: bench.committed() == {0: 10, 1: 10}, PATIENCE, "and all")
                gate.open()
                hung.joined(1)
                bench.produce(range(20, 40), partition=lambda n: n % 2)
                wait_until(lambda: bench.committed() == {0: 20, 1: 20}, PATIENCE, "both work")
                assert {n for n in seen if n >= 20}
                other.stop()
            hung.stop()

    assert sorted([*seen, *others]) == list(range(40)), "only the late one was done twice"
