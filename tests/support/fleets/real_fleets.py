"""The supervisor's command as a user runs it, on the real Kafka, with the handlers of shop.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING

import shop
from prometheus_client.parser import text_string_to_metric_families

from flowodm import connect
from flowodm.connection import get_kafka_connection
from support.paths import PYTHONPATH
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0


def produce_orders(bootstrap: str, topic: str, count: int, first: int = 0) -> None:
    """Orders with the numbers from ``first`` on, in bare Avro, acknowledged by the broker."""
    connect(bootstrap_servers=bootstrap)
    shop.Order.Settings.topic = topic
    try:
        for number in range(first, first + count):
            order = shop.Order(order_id=number, customer=str(number % 97), amount=number / 4)
            order.produce_nowait()
        assert shop.Order.get_producer().flush(30) == 0
    finally:
        get_kafka_connection().reset()


class RealFleet:
    """One ``flowodm-supervisor run`` in a directory of its own.

    Args:
        folder: An empty directory.
        bootstrap: Kafka.
        topic: What is consumed.
        consumers: The tables under [consumers].
    """

    def __init__(self, folder: Path, bootstrap: str, topic: str, consumers: str, **supervisor):
        self.traces = folder / "traces"
        self.traces.mkdir()
        self.config = folder / "fleet.toml"
        table = {"http": "127.0.0.1:0", "log_format": "json", "instance_id": topic, **supervisor}
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        kafka = f'[kafka]\nbootstrap_servers = "{bootstrap}"\n'
        self.config.write_text("[supervisor]\n" + "\n".join(lines) + f"\n{kafka}{consumers}")
        self._log = folder / "log"
        self._folder = folder
        self._environment = {
            **os.environ,
            "PYTHONPATH": PYTHONPATH,
            "SHOP_TOPIC": topic,
            # Its own: static members of a fleet that has ended are in that fleet's group still.
            "SHOP_GROUP": topic,
            "SHOP_TRACES": str(self.traces),
        }
        self.process: subprocess.Popen[bytes]
        self.url = ""

    def __enter__(self):
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor", "run", self.config.name],
                cwd=self._folder,
                env=self._environment,
                stderr=log,
                stdout=log,
                start_new_session=True,  # a terminal's SIGHUP means something else
            )
        self.url = wait_until(self._find_url, PATIENCE, "the supervisor listens")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait(PATIENCE)

    def _find_url(self) -> str | None:
        assert self.process.poll() is None, self.text()
        found = [entry["event"] for entry in self.log() if "listening on" in entry["event"]]
        return found[0].split()[-1] if found else None

    def text(self) -> str:
        return self._log.read_text()

    def log(self) -> list[dict]:
        """Every complete line that was logged."""
        lines = self.text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line[-1] == "\n"]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def slots(self) -> list[dict]:
        status = json.loads(self.get("/status")[1])
        return [slot for c in status["consumers"].values() for slot in c["slots"]]

    def until_ready(self) -> None:
        wait_until(lambda: self.get("/readyz")[0] == 200, PATIENCE, "every worker is assigned")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples]
        wanted = labels.items()
        return sum(s.value for s in samples if s.name == name and wanted <= s.labels.items())

    def traces_of(self, kind: str) -> Counter[str]:
        """What handlers traced, with the number of times."""
        found: Counter[str] = Counter()
        for path in self.traces.glob(f"{kind}-*"):
            found.update(path.read_text().split("\n")[:-1])
        return found

    def handled(self) -> Counter[int]:
        return Counter({int(number): n for number, n in self.traces_of("handled").items()})

    def until_handled(self, count: int) -> None:
        wait_until(lambda: len(self.handled()) >= count, PATIENCE, f"{count} orders are handled")

    def stop(self) -> int:
        """SIGTERM, as a service manager does; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)
