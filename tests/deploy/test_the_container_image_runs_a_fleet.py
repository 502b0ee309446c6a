"""deploy/container: the image, built and run as process 1 of namespaces, on a real Kafka."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from support.brokers.jvm import free_port
from support.deploy.container_image import image
from support.fleets.real_fleets import produce_orders
from support.waiting import wait_until

PATIENCE = 60.0
SHOP = """
import subprocess

from flowodm import FlowBaseModel


class Order(FlowBaseModel):
    class Settings:
        topic = "{topic}"
        consumer_group = "{topic}"

    order_id: int
    customer: str
    amount: float


def handle(order: Order) -> None:
    # A program that the handler starts and leaves behind becomes a child of process 1.
    subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)
    print("handled", order.order_id, flush=True)
"""
FLEET = """
[supervisor]
http = "127.0.0.1:{port}"
control_socket = "/tmp/flowodm/control.sock"
[kafka]
bootstrap_servers = "{kafka}"
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
workers = 2
commit_strategy = "after_processing"
settings = "real_time"
start_from = "earliest"
"""


@pytest.fixture(scope="module")
def built():
    with image() as made:
        yield made


def child_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


class Container:
    """The image's own command, with a fleet and its code where the image looks for them."""

    def __init__(self, built, kafka, topic):
        self.image, self.lines = built, []
        self.port = str(free_port())
        (built.files / "app/shop.py").write_text(SHOP.format(topic=topic))
        (built.files / "etc/flowodm").mkdir(exist_ok=True)
        fleet = FLEET.format(port=self.port, kafka=kafka)
        (built.files / "etc/flowodm/fleet.toml").write_text(fleet)
        self.process = subprocess.Popen(
            built.inside(self._found([*built.config["Entrypoint"], *built.config["Cmd"]])),
            env=built.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(
            target=lambda: self.lines.extend(self.process.stdout), daemon=True
        )
        self._reader.start()
        #: Process 1 in there, by its number out here.
        self.pid = wait_until(lambda: child_of(self.process.pid), PATIENCE, "process 1 is there")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)  # and with process 1 all that is in there
        self.process.wait(PATIENCE)
        self._reader.join()
        self.process.stdout.close()

    def _found(self, command):
        """A name is looked up in the image's own PATH, as a container runtime does it."""
        folders = self.image.environment["PATH"].split(":")
        inside = (Path(folder, command[0]) for folder in folders)
        files = self.image.files
        (found, *_) = (p for p in inside if os.path.lexists(files / p.relative_to("/")))
        return [str(found), *command[1:]]

    def healthy(self):
        """Whether the image's health check says so."""
        kind, *command = self.image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        command[-1] = command[-1].replace("9108", self.port)
        done = subprocess.run(
            self.image.inside(self._found(command), pids_of=self.pid),
            env=self.image.environment,
            capture_output=True,
            check=False,
            timeout=20,
        )
        return done.returncode == 0

    def text(self):
        return "".join(self.lines)

    def handled(self):
        return [int(n) for n in re.findall(r"^handled (\d+)$", self.text(), re.MULTILINE)]

    def dead_children(self):
        """Children of process 1 that have ended and that it has not waited for."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent, *_ = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # gone by now
            if state == "Z" and int(parent) == self.pid:
                found.append(stat)
        return found


@pytest.mark.timeout(600)
def test_a_fleet_runs_in_it_as_process_1_and_drains_at_sigterm(built, kafka, topic):
    produce_orders(kafka, topic, 20)

    with Container(built, kafka, topic) as container:
        wait_until(lambda: len(container.handled()) == 20, PATIENCE, "all orders are handled")
        wait_until(container.healthy, PATIENCE, "its health check succeeds")
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
        assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
        wait_until(
            lambda: not container.dead_children(), PATIENCE, "what handlers left behind is reaped"
        )

        os.kill(container.pid, signal.SIGTERM)

        assert container.process.wait(PATIENCE) == 0, container.lines
    assert sorted(container.handled()) == list(range(20))


@pytest.mark.timeout(600)
def test_its_health_check_fails_while_the_main_loop_stands_still(built, kafka, topic):
    with Container(built, kafka, topic) as container:
        wait_until(container.healthy, PATIENCE, "its health check succeeds")

        os.kill(child_of(container.pid), signal.SIGSTOP)  # the supervisor, behind its init

        assert not container.healthy()


@pytest.mark.timeout(600)
def test_workers_drain_before_it_ends_where_their_supervisor_is_killed(built, kafka, topic):
    with Container(built, kafka, topic) as container:
        wait_until(container.healthy, PATIENCE, "its health check succeeds")
        wait_until(lambda: "every worker is assigned" in container.text(), PATIENCE, "it is ready")

        os.kill(child_of(container.pid), signal.SIGKILL)

        assert container.process.wait(PATIENCE) == 128 + signal.SIGKILL
    said = container.text()
    assert said.count('"the supervisor is gone; draining"') == 2
    assert said.count('"loop ended"') == 2


@pytest.mark.timeout(600)
def test_there_is_nothing_in_it_but_what_runs(built):
    python = built.files / "opt/flowodm/bin/python3"
    (packages,) = (built.files / "opt/flowodm/lib").glob("python3.*/site-packages")
    names = {folder.name for folder in packages.iterdir()}

    assert python.is_symlink()
    assert {"flowodm", "supervisor", "confluent_kafka"} <= names
    assert not {"pytest", "mypy", "hypothesis"} & names
    assert not (built.files / "build").exists()
    assert not list((built.files / "root").glob(".cache/*"))
