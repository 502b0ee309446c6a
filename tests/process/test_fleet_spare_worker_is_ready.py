"""More workers than partitions: the spare one is a member without partitions, and ready."""

from __future__ import annotations

from support.fleets.real_fleets import PATIENCE, RealFleet
from support.waiting import wait_until


def test_a_worker_without_a_partition_is_ready(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=2)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:handle"
        workers = 3
        group_id = "{topic}"
        commit_strategy = "after_processing"
    """
    with RealFleet(tmp_path, kafka, topic, consumers) as fleet:
        fleet.until_ready()
        shares = lambda: sorted(len(s["partitions"]) for s in fleet.slots())  # noqa: E731 - asked again
        wait_until(lambda: shares() == [0, 1, 1], PATIENCE, "two of three workers have a partition")
        assert fleet.get("/readyz")[0] == 200
        assert fleet.stop() == 0, fleet.text()
