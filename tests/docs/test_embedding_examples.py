"""docs/embedding.md: its programs run as written, and end as they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flowodm import FlowBaseModel, connect
from support.brokers.jvm import free_port
from support.docs.fenced_blocks import fenced_blocks
from support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "embedding.md"
PROGRAMS = {block.file: block.source for block in fenced_blocks(PAGE)}
PATIENCE = 40.0
SHOP = """
from flowodm import FlowBaseModel


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shop"

    number: int


def charge(order: Order) -> None:
    print(order.number)
"""
FLEET = """
[supervisor]
http = ""
instance_id = "{name}"
[kafka]
bootstrap_servers = "{kafka}"
[consumers.orders]
model = "shop:Order"
handler = "shop:charge"
"""


@pytest.fixture
def program(kafka, new_topic, tmp_path):
    """``program(name, **replaced) -> Popen``: one of the page's, with a topic of its own."""
    topic = new_topic(1)
    (tmp_path / "shop.py").write_text(SHOP.replace('"orders"', repr(topic)))
    (tmp_path / "fleet.toml").write_text(FLEET.format(kafka=kafka, name=topic))
    started = []

    def start(name, end="", **replaced):
        source = PROGRAMS[name].replace("localhost:9092", kafka).replace('"shop"', repr(topic))
        source = source.replace('topic = "orders"', f"topic = {topic!r}")
        for old, new in replaced.items():
            source = source.replace(old.removeprefix("_"), new)
        (tmp_path / name).write_text(source + end)
        process = subprocess.Popen(
            [sys.executable, name], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        started.append(process)
        return process

    start.topic = topic
    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_context_runs_a_fleet_and_drains_it(program):
    process = program("fleets.py")

    printed, _ = process.communicate(timeout=PATIENCE)

    assert (process.returncode, printed) == (0, "shop:charge\nCLEAN\n")


def test_a_service_is_ready_with_its_fleet_and_drains_it_at_sigterm(program):
    port = str(free_port())
    process = program("service.py", _8080=port)

    def ready():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return answer.read() == b"ok"

    wait_until(ready, PATIENCE, "the service is ready", despite=urllib.error.URLError)
    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE) == 0


def test_a_loop_in_a_thread_leaves_signals_to_the_program_and_ends_at_stop(program, kafka):
    end = "import time\nwhile not charged:\n    time.sleep(0.01)\nloop.stop()\nthread.join()\n"
    process = program(
        "worker.py",
        end + 'print("stopped")\n',
        **{"def charge(order: Order) -> None:\n": RECORDING},
    )
    connect(bootstrap_servers=kafka)
    _order(program.topic)(number=7).produce()

    printed, _ = process.communicate(timeout=PATIENCE)

    assert (process.returncode, printed) == (0, "charged order 7\nstopped\n")


RECORDING = (
    "charged = []\n\n\ndef charge(order: Order) -> None:\n    charged.append(order.number)\n"
)


def _order(name):
    class Order(FlowBaseModel):
        class Settings:
            topic = name

        number: int

    return Order


def test_no_program_is_left_out():
    assert set(PROGRAMS) == {"fleets.py", "service.py", "worker.py"}
