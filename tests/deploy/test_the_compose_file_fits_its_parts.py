"""deploy/container/compose.yaml: its Kafka starts, what it mounts is there, and its fleet works."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from flowodm import connect
from supervisor.check.timeouts import stop_seconds
from supervisor.config.toml import load_config
from support.brokers import artifacts
from support.brokers.jvm import free_port
from support.brokers.kafka_server import KafkaServer
from support.brokers.records import create_topic
from support.fleets.real_fleets import RealFleet
from support.programs import needs
from support.waiting import wait_until

FOLDER = Path(__file__).parents[2] / "deploy" / "container"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
ADDRESSES = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "SCHEMA_REGISTRY_URL": "http://registry"}


def mounts(service):
    """Where a service's files come from, and where it sees them."""
    for volume in SERVICES[service].get("volumes", []):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            yield (FOLDER / source).resolve(), target


def test_every_file_and_folder_that_is_mounted_is_there():
    found = [source for service in SERVICES for source, _ in mounts(service)]

    assert len(found) >= 7
    assert [source for source in found if not source.exists()] == []


def test_every_image_is_pinned_and_every_port_is_this_machines_only():
    for name, service in SERVICES.items():
        if "build" not in service and service["image"] != SERVICES["supervisor"]["image"]:
            assert re.search(r":v?\d+\.\d+", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_the_supervisor_has_time_to_drain_and_may_do_little():
    service = SERVICES["supervisor"]
    config = load_config(FOLDER / "example/fleet.toml", ADDRESSES)

    assert service["stop_grace_period"] == "1m"
    assert stop_seconds(config) < 60
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert config.supervisor.http.endswith(":9108")


def test_the_dead_letter_topic_of_the_fleet_is_the_one_that_is_made():
    config = load_config(FOLDER / "example/fleet.toml", ADDRESSES)

    assert config.consumers["orders"].dead_letter_topic in SERVICES["topics"]["command"]


class ComposeKafka(KafkaServer):
    """A broker with what Kafka's own image makes of the service's environment."""

    def _prepare(self):
        super()._prepare()
        folders = [self.data / name for name in ("defaults", "mounted", "final")]
        for folder in folders:
            folder.mkdir()
        for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
            (folders[0] / name).write_text("unused=\n" if name.endswith("properties") else "")
        told = {name: str(value) for name, value in SERVICES["kafka"]["environment"].items()}
        subprocess.run(
            [
                *(artifacts.java(), "-cp", f"{artifacts.kafka_libraries()}/*"),
                *("kafka.docker.KafkaDockerWrapper", "setup"),
                *("--default-configs-dir", folders[0], "--mounted-configs-dir", folders[1]),
                *("--final-configs-dir", folders[2]),
            ],
            env={**os.environ, **told, "KAFKA_LOG_DIRS": str(self.data / "compose"), **CLUSTER},
            capture_output=True,
            check=True,
            timeout=60,
        )
        self.made = dict(
            line.split("=", 1)
            for line in (folders[2] / "server.properties").read_text().splitlines()
            if "=" in line
        )


CLUSTER = {"CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw"}


def test_kafkas_own_image_makes_a_broker_of_the_environment(kafka_parts):
    """Its start script is in Kafka's jars; addresses alone are others here."""
    with ComposeKafka() as server:
        made = server.made
        assert made["process.roles"] == "broker,controller"
        assert made["advertised.listeners"] == "INSIDE://kafka:9092,HOST://localhost:29092"
        settings = {
            key: value
            for key, value in made.items()
            if not re.search(r"listener|voters|log\.dirs|node\.id|roles|unused", key)
        }
    with KafkaServer(settings) as server:
        create_topic(server.bootstrap_servers, "orders", 4)
        assert settings["num.partitions"] == "4"


@needs("promtool")
def test_prometheus_accepts_what_it_is_given(tmp_path):
    for source, target in mounts("prometheus"):
        shutil.copy(source, tmp_path / Path(target).name)

    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "supervisor:9108" in (tmp_path / "prometheus.yml").read_text()


def test_grafana_finds_its_dashboard_and_the_prometheus_that_it_asks():
    provisioned = dict(mounts("grafana"))
    targets = {target: source for source, target in provisioned.items()}
    folder = "/var/lib/grafana/dashboards"
    dashboards = yaml.safe_load((FOLDER / "grafana/dashboards.yaml").read_text())
    (source,) = yaml.safe_load((FOLDER / "grafana/datasources.yaml").read_text())["datasources"]

    assert dashboards["providers"][0]["options"]["path"] == folder
    assert list(targets[folder].glob("*.json"))
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert source["isDefault"]


@contextlib.contextmanager
def producing(kafka, registry):
    """The example's producer, as its service runs it."""
    process = subprocess.Popen(
        [sys.executable, FOLDER / "example/shop.py"],
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry,
        },
    )
    try:
        yield
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


def test_its_fleet_charges_what_its_producer_produces(new_kafka_server, registry, tmp_path):
    kafka = new_kafka_server().bootstrap_servers
    connect(bootstrap_servers=kafka)
    for topic, partitions in (("orders", 4), ("orders-dead", 1)):
        create_topic(kafka, topic, partitions)
    fleet = RealFleet(tmp_path, kafka, "orders", "")
    text = (FOLDER / "example/fleet.toml").read_text()
    text = text.replace("0.0.0.0:9108", f"127.0.0.1:{free_port()}").replace("/tmp/", f"{tmp_path}/")
    fleet.config.write_text(
        text.replace("${KAFKA_BOOTSTRAP_SERVERS}", kafka).replace(
            "${SCHEMA_REGISTRY_URL}", registry
        )
    )
    shutil.copy(FOLDER / "example/shop.py", tmp_path)

    with fleet, producing(kafka, registry):
        wait_until(
            lambda: fleet.metric("flowodm_messages_total", outcome="processed") > 120,
            60,
            "more than a hundred orders are charged",
        )
        assert fleet.metric("flowodm_dead_letters_total") >= 1
        assert fleet.stop() == 0, fleet.text()


def test_the_example_is_a_module_that_starts_nothing_when_it_is_imported():
    spec = importlib.util.spec_from_file_location("example_shop", FOLDER / "example/shop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.Order.Settings.topic == "orders"


def test_the_image_has_the_versions_that_are_tested():
    def pins(file):
        text = file.read_text(encoding="utf-8")
        return dict(re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", text, re.MULTILINE))

    ours, tested = pins(FOLDER / "requirements.txt"), pins(FOLDER.parents[1] / "constraints.txt")
    assert len(ours) > 20
    assert ours.items() <= tested.items()
