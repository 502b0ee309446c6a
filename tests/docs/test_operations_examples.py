"""docs/operations.md: what it quotes is said, its numbers are the code's, its procedure works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import flowodm
import supervisor
from flowodm.settings import (
    BaseSettings,
    BatchSettings,
    LongRunningSettings,
    RealTimeSettings,
    ReliableSettings,
)
from supervisor.changes.changes import FIXED, PATIENCE
from supervisor.config.config import SupervisorTable
from supervisor.config.consumer import ConsumerTable
from supervisor.report import ExitStatus
from support.brokers.records import create_topic
from support.docs.fenced_blocks import fenced_blocks
from support.fleets.real_fleets import RealFleet, produce_orders
from support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
# What is put together when it is logged, and the code that does it.
COMPOSED = {
    "partitions lost": "partitions {event.kind.value}",
    "partitions left": "partitions {event.kind.value}",
}
FLEET = """
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
workers = 2
start_from = "earliest"
commit_strategy = "after_processing"
"""
OTHER = FLEET.replace("orders", "others") + 'group_id = "{topic}-others"\n'


def rows(title):
    """The rows of a section's table, as their cells."""
    section = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_message_that_is_quoted_is_one_that_is_logged():
    quoted = set(re.findall(r'"`([^`]+)`…?"', TEXT))
    folders = [Path(package.__file__).parent for package in (flowodm, supervisor)]
    code = "\n".join(f.read_text() for folder in folders for f in folder.rglob("*.py"))

    assert len(quoted) >= 9
    assert [text for text in quoted if COMPOSED.get(text, text) not in code] == []


def test_the_statuses_are_those_of_the_command():
    said = {int(cells[0]) for cells in rows("Changing a running fleet") if cells[0].isdigit()}

    own = {s.value for s in ExitStatus} - {
        ExitStatus.USAGE,
        ExitStatus.REFUSED,
        ExitStatus.UNREACHABLE,
    }
    assert said == own


def test_the_times_of_the_chain_are_the_defaults():
    defaults = {cells[0].strip("`"): cells[1] for cells in rows("The chain of time-outs")}
    table, consumer = SupervisorTable(), ConsumerTable.model_fields

    assert defaults["drain_timeout"] == f"{table.drain_timeout:g} s"
    assert defaults["kill_delay"] == f"{table.kill_delay:g} s"
    assert consumer["attempt_timeout"].default is None
    assert consumer["handler_timeout"].default == 0
    assert LongRunningSettings().max_poll_interval_ms == 600_000
    assert RealTimeSettings().max_poll_interval_ms == 30_000
    assert BaseSettings().max_poll_interval_ms == 300_000
    sessions = [
        profile().session_timeout_ms // 1000
        for profile in (LongRunningSettings, ReliableSettings, BatchSettings, RealTimeSettings)
    ]
    assert "{} s, {} s, {} s or {} s".format(*sessions) in defaults["session_timeout_ms"]
    assert PATIENCE == 120


def test_what_a_running_supervisor_cannot_change_is_named():
    sentence = TEXT.partition("**These need a new supervisor**:")[2].partition("of `[supervisor]`")[
        0
    ]

    assert tuple(re.findall(r"`(\w+)`", sentence)) == FIXED


def test_a_group_goes_back_while_its_consumer_is_out_of_the_file(kafka, new_topic, tmp_path):
    topic = new_topic(partitions=1)
    create_topic(kafka, f"{topic}-others", 1)
    produce_orders(kafka, topic, 30)
    other = OTHER.format(topic=topic)
    (block,) = (block for block in fenced_blocks(PAGE) if block.language == "python")
    socket = str(tmp_path / "run" / "control.sock")

    with RealFleet(tmp_path, kafka, topic, FLEET + other, control_socket=socket) as fleet:
        wait_until(lambda: sum(fleet.handled().values()) == 60, 60, "both have handled all")
        whole = fleet.config.read_text()

        fleet.config.write_text(whole.replace(FLEET, ""))
        reload(fleet.config)
        source = block.source.replace('"shop"', repr(topic)).replace('"orders"', repr(topic))
        exec(compile(source.replace("localhost:9092", kafka), str(PAGE), "exec"), {})
        fleet.config.write_text(whole)
        reload(fleet.config)

        wait_until(lambda: sum(fleet.handled().values()) == 90, 60, "one has begun again")
        assert fleet.stop() == 0, fleet.text()


def reload(config):
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", "reload", config, "--wait"],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env={"SHOP_TOPIC": "unused"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
