from __future__ import annotations

from flowodm.testing.broker import EmbeddedBroker
from support.fleets.fleets import until_dead
from support.fleets.real_fleets import PATIENCE, RealFleet
from support.waiting import wait_until

MINE = """
import logging, sys, warnings
import structlog
from flowodm import FlowBaseModel

class Order(FlowBaseModel):
    class Settings:
        topic = "logged"
        consumer_group = "logged"
    number: int

def handle(order): ...

def up():
    logging.getLogger("mine").info("plain logging")
    structlog.get_logger("mine").info("by structlog")
    warnings.warn("a warning")
    logging.getLogger("mine").error("the password is hunter2")
    Order(number=1).produce()
"""

CONSUMERS = """
[kafka.options]
"sasl.password" = "hunter2"
[consumers.orders]
model = "mine:Order"
handler = "mine:handle"
on_startup = "mine:up"
partition_groups = [[0, 1], [2, 3]]
"""


def test_every_line_has_consumer_slot_and_pid_whatever_wrote_it(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    with (
        EmbeddedBroker() as broker,
        RealFleet(tmp_path, broker.bootstrap_servers, "logged", CONSUMERS) as fleet,
    ):
        fleet.until_ready()
        pids = {slot["slot"]: slot["pid"] for slot in fleet.slots()}
        wait_until(
            lambda: fleet.metric("flowodm_messages_total", outcome="processed") == 2,
            PATIENCE,
            "what each worker produced is processed",
        )
        seen = fleet.text() + "".join(fleet.get(path)[1] for path in ("/status", "/metrics"))
        assert fleet.stop() == 0
        until_dead(pids.values())
        lines = fleet.log()
    assert len(lines) == len(fleet.text().splitlines()), "a line that is no JSON"
    assert "hunter2" not in fleet.text() + seen
    of_workers = [line for line in lines if line["logger"] != "supervisor"]
    for line in of_workers:
        assert line["consumer"] == "orders"
        assert line["pid"] == pids[line["slot"]]
    events = [line["event"] for line in of_workers]
    for event in ("plain logging", "by structlog", "the password is [redacted]"):
        assert events.count(event) == 2
    assert len([event for event in events if "a warning" in event]) == 2
    about_slots = [line for line in lines if line["event"] in {"assigned", "worker ended"}]
    assert {(line["slot"], line["pid"]) for line in about_slots} == set(pids.items())
