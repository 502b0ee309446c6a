from __future__ import annotations

import re

import pytest

from flowodm.testing.broker import EmbeddedBroker
from support.fleets.real_fleets import PATIENCE, RealFleet
from support.waiting import wait_until

LINES = 3_000
MINE = f"""
from flowodm import FlowBaseModel

class Order(FlowBaseModel):
    class Settings:
        topic = "printed"
        consumer_group = "printed"
    number: int

def handle(order): ...

def up():
    for number in range({LINES}):
        print("handled", number)
"""
CONSUMERS = """
[consumers.orders]
model = "mine:Order"
handler = "mine:handle"
on_startup = "mine:up"
partition_groups = [[0, 1], [2, 3]]
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_two_workers_print_at_once_and_every_line_is_whole_and_there(
    tmp_path, monkeypatch, unbuffered
):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (tmp_path / "mine.py").write_text(MINE)
    with (
        EmbeddedBroker() as broker,
        RealFleet(tmp_path, broker.bootstrap_servers, "printed", CONSUMERS) as fleet,
    ):
        fleet.until_ready()
        whole = re.compile(r"^handled \d+$", re.MULTILINE)
        wait_until(
            lambda: len(whole.findall(fleet.text())) == 2 * LINES, PATIENCE, "all lines are there"
        )
        assert fleet.stop() == 0
    assert all(line[0] == "{" or whole.match(line) for line in fleet.text().splitlines())
