from __future__ import annotations

import os
import signal

import pytest

from flowodm.testing.broker import EmbeddedBroker
from supervisor.report import ExitStatus
from support.fleets.real_fleets import PATIENCE, RealFleet
from support.waiting import wait_until

MINE = """
import asyncio, os, time
from flowodm import FlowBaseModel

class Order(FlowBaseModel):
    class Settings:
        topic = "stopped"
        consumer_group = "stopped"
    number: int

def note(what):
    open(what, "a").close()

def slow_up():
    note("up-began")
    time.sleep(1)
    note("up-ended")

def up():
    Order(number=1).produce()

def down():
    note("down")

def handle(order):
    note("handling")

def stuck(order):
    note("handling")
    time.sleep(60)
    note("handled")

async def astuck(order):
    note("handling")
    await asyncio.sleep(60)
    note("handled")
"""


@pytest.fixture
def bootstrap():
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def running(tmp_path, bootstrap, request):
    def run(options, **supervisor):
        (tmp_path / "mine.py").write_text(MINE)
        consumers = (
            '[consumers.orders]\nmodel = "mine:Order"\non_shutdown = "mine:down"\n'
            f'group_id = "{tmp_path.name}"\npartition_groups = [[0, 1, 2, 3]]\n{options}'
        )
        return RealFleet(tmp_path, bootstrap, "stopped", consumers, **supervisor)

    return run


def test_in_on_startup_it_ends_clean_and_the_shutdown_hook_runs(running, tmp_path):
    options = 'handler = "mine:handle"\non_startup = "mine:slow_up"'
    with running(options) as fleet:
        wait_until((tmp_path / "up-began").exists, PATIENCE, "on_startup has begun")
        assert fleet.stop() == ExitStatus.CLEAN, fleet.text()
    assert (tmp_path / "up-ended").exists()
    assert (tmp_path / "down").exists()
    assert not (tmp_path / "handling").exists()


@pytest.mark.parametrize("handler", ["stuck", "astuck"])
def test_with_a_handler_that_does_not_end_the_status_says_so(running, tmp_path, handler):
    options = (
        f'handler = "mine:{handler}"\non_startup = "mine:up"\ncommit_strategy = "after_processing"'
    )
    with running(options, drain_timeout="1s", kill_delay="2s") as fleet:
        wait_until((tmp_path / "handling").exists, PATIENCE, "a handler is running")
        assert fleet.stop() == ExitStatus.UNCLEAN, fleet.text()
        ended = next(line for line in fleet.log() if line["event"].startswith("worker ended"))
    assert not (tmp_path / "handled").exists()
    assert ended["left"] >= 1
    assert ended["reason"] in {"abandoned", "killed"}
    assert 1 <= ended["drain_seconds"] < 5


def test_by_sigterm_from_outside_it_drains_and_another_one_follows(running):
    with running('handler = "mine:handle"') as fleet:
        fleet.until_ready()
        (before,) = fleet.slots()
        os.kill(before["pid"], signal.SIGTERM)
        wait_until(
            lambda: (slot := fleet.slots()[0])["restarts"] == 1 and slot["partitions"],
            PATIENCE,
            "another one is assigned",
        )
        assert fleet.metric("flowodm_worker_restarts_total", reason="done") == 1
        assert fleet.stop() == ExitStatus.CLEAN
