from __future__ import annotations

import subprocess
import sys
import textwrap

HOST = """
import asyncio, sys
from supervisor import Supervisor, load_config

async def main():
    supervisor = Supervisor(load_config("fleet.toml"))
    async with supervisor, asyncio.timeout(30):
        while not supervisor.ready:
            await asyncio.sleep(0.05)
    return supervisor.report

report = asyncio.run(main())
assert report.status == 0, report
families = ("flowodm", "confluent_kafka", "kafka", "fastavro", "multiprocess", "dill", "mine")
print(sorted(m for m in sys.modules if m.split(".")[0] in families))
"""

FLEET = """
[supervisor]
http = "127.0.0.1:0"
preload = ["mine"]
[kafka]
bootstrap_servers = "{bootstrap}"
[consumers.orders]
model = "mine:Order"
handler = "mine:handle"
on_startup = "mine:up"
workers = 2
[consumers.pinned]
model = "mine:Order"
handler = "mine:handle"
group_id = "{topic}-pinned"
partition_groups = [[0, 1], [2]]
"""

MINE = """
from flowodm import FlowBaseModel

class Order(FlowBaseModel):
    class Settings:
        topic = "{topic}"
        consumer_group = "{topic}"
    number: int

def handle(order): ...

def up():
    Order(number=1).produce()
"""


def test_after_a_whole_run_none_of_it_is_in_its_modules(kafka, topic, tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format(topic=topic))
    (tmp_path / "host.py").write_text(textwrap.dedent(HOST))
    (tmp_path / "fleet.toml").write_text(FLEET.format(bootstrap=kafka, topic=topic))

    done = subprocess.run(
        [sys.executable, "host.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
