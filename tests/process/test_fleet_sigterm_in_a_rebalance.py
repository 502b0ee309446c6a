"""A worker whose group still rebalances when everything is to stop."""

from __future__ import annotations

import signal
import time

from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

ORDERS = 12_000


def test_a_static_member_that_has_gone_keeps_no_other_one_from_its_last_commit(
    kafka, new_topic, tmp_path
):
    topic = new_topic(partitions=8)
    produce_orders(kafka, topic, ORDERS)

    def consumers(workers: int) -> str:
        return f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:handle_slowly"
        workers = {workers}
        group_id = "{topic}"
        commit_strategy = "after_processing"
        """

    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()

    with RealFleet(tmp_path / "first", kafka, topic, consumers(1)) as first:
        first.until_handled(ORDERS // 100)
        first.config.write_text(first.config.read_text().replace("workers = 1", "workers = 2"))
        first.process.send_signal(signal.SIGHUP)
        # What the first worker gives up the second one gets in the next round, for which the
        # group waits for both to join once more.
        wait_until(lambda: "partitions revoked" in first.text(), PATIENCE, "a rebalance goes on")
        begun = time.monotonic()
        assert first.stop() == 0, first.text()
        assert time.monotonic() - begun < 20.0, first.text()
    before = first.handled()

    with RealFleet(tmp_path / "second", kafka, topic, consumers(2)) as second:
        second.until_handled(ORDERS - len(before))
        assert second.stop() == 0, second.text()
    assert set((before + second.handled()).values()) == {1}
