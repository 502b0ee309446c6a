"""partitions_per_worker: as many workers as the topic needs, also when it grows."""

from __future__ import annotations

import asyncio

from confluent_kafka.admin import AdminClient, NewPartitions

from support.fleets.fleets import alive, embedded, slots, until
from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

BY_SIZE = ("counts_its_partitions", {"partitions_per_worker": 2})
CONSUMERS = """
[kafka.options]
"auto.offset.reset" = "latest"
"topic.metadata.refresh.interval.ms" = 300
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
partitions_per_worker = 2
group_id = "{group}"
"""


def count(folder, partitions):
    """Let the topic have so many, at once: who reads half of it sees a topic of none."""
    (folder / "new").write_text(str(partitions))
    (folder / "new").rename(folder / "count")


def test_a_topic_that_grows_gets_more_workers_which_read_what_is_new_from_its_beginning(
    kafka, new_topic, tmp_path
):
    topic = new_topic(partitions=3)
    with RealFleet(tmp_path, kafka, topic, CONSUMERS.format(group=topic)) as fleet:

        def held() -> list[list[int]]:
            return [[number for _, number in slot["partitions"]] for slot in fleet.slots()]

        wait_until(lambda: held() == [[0, 1], [2]], PATIENCE, "two workers share three")
        first = [slot["pid"] for slot in fleet.slots()]

        admin = AdminClient({"bootstrap.servers": kafka})
        admin.create_partitions([NewPartitions(topic, 6)])[topic].result(PATIENCE)
        produce_orders(kafka, topic, 600)
        wait_until(lambda: held() == [[0, 1], [2, 3], [4, 5]], PATIENCE, "three share six")

        fleet.until_handled(600)
        assert fleet.slots()[0]["pid"] == first[0], "whose partitions are the same stays"
        assert fleet.slots()[0]["restarts"] == 0
        assert fleet.stop() == 0, fleet.text()


async def test_the_worker_that_counted_becomes_the_first_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with embedded({"orders": BY_SIZE}) as supervisor:
        pid = await until(lambda: slots(supervisor)["orders/0"]["pid"], "one worker runs")
        assert not supervisor.ready
        count(tmp_path, 5)

        await until(lambda: supervisor.ready, "all workers have their partitions")
        assert slots(supervisor).keys() == {"orders/0", "orders/1", "orders/2"}
        assert slots(supervisor)["orders/0"]["pid"] == pid


async def test_a_worker_that_waits_for_the_count_is_replaced_and_stopped_as_any_other(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    async with embedded({"orders": BY_SIZE}) as supervisor:
        pid = await until(lambda: slots(supervisor)["orders/0"]["pid"], "one worker runs")
        await asyncio.wrap_future(supervisor.restart("orders"))
        other = await until(
            lambda: slots(supervisor)["orders/0"]["pid"] not in {None, pid}, "another one runs"
        )
        assert other
        assert not alive(pid)

    assert supervisor.report.status == 0


async def test_growth_leaves_what_has_failed_for_good_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count(tmp_path, 2)
    async with embedded({"orders": BY_SIZE, "mail": "misconfigured"}) as supervisor:
        await until(lambda: slots(supervisor)["mail/0"]["state"] == "failed", "it has failed")
        working = {"assigned", "processing"}
        await until(lambda: slots(supervisor)["orders/0"]["state"] in working, "it is assigned")
        count(tmp_path, 4)

        await until(lambda: "orders/1" in slots(supervisor), "there is one more")
        assert slots(supervisor)["mail/0"]["state"] == "failed"
        assert slots(supervisor)["orders/0"]["restarts"] == 0
