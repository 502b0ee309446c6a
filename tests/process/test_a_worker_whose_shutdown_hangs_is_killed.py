from __future__ import annotations

from flowodm.testing.broker import EmbeddedBroker
from support.fleets.real_fleets import RealFleet
from support.waiting import wait_until

MINE = """
import signal, time
from flowodm import FlowBaseModel

class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "hanging"
    number: int

def up():
    Order(number=1).produce()

def fail(order):
    raise ValueError("no such order")

def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)
"""

CONSUMERS = """
[consumers.orders]
model = "mine:Order"
handler = "mine:fail"
on_startup = "mine:up"
on_shutdown = "mine:hang"
on_failure = "stop"
partition_groups = [[0, 1, 2, 3]]
drain_timeout = "500ms"
"""


QUICK = {"kill_delay": "200ms"}


def test_a_failed_record_ends_the_worker_also_if_its_shutdown_hook_hangs(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    with (
        EmbeddedBroker() as broker,
        RealFleet(tmp_path, broker.bootstrap_servers, "orders", CONSUMERS, **QUICK) as fleet,
    ):
        failure = wait_until(
            lambda: fleet.slots()[0]["last_failure"], 20, "the worker was replaced"
        )
        assert failure["reason"] == "killed"
