"""Invariant 11: whatever is secret, wherever it comes from, is in no output of the fleet."""

from __future__ import annotations

import json
from pathlib import Path

from flowodm.testing.broker import EmbeddedBroker
from supervisor.control.client import ask
from support.fleets.fleets import until_dead
from support.fleets.real_fleets import PATIENCE, RealFleet
from support.waiting import wait_until

MINE = """
import atexit, logging, os
from flowodm import FlowBaseModel, LongRunningSettings
from flowodm.connection import get_kafka_connection

class Order(FlowBaseModel):
    class Settings:
        topic = "hidden"
        consumer_group = "hidden"
    number: int

class Patient(LongRunningSettings):
    extra_config = {"sasl.oauthbearer.client.secret": "hunter-profile"}

def handle(order): ...

def everything():
    connection = get_kafka_connection()
    environment = {name: os.environ[name] for name in os.environ["TOLD"].split()}
    return [connection.producer_config(), connection._options.registry(), environment]

def up():
    log = logging.getLogger("mine")
    log.warning(Patient())
    log.warning("%r %s", get_kafka_connection(), everything())
    log.warning("all of it: %s", everything()[1:], extra={"settings": everything()[0]})
    log.warning(open("fleet.toml").read())
    log.warning(open("password").read())
    log.warning("%d cannot be formatted", everything())
    atexit.register(too_late)

def too_late():
    raise RuntimeError("too late", everything())

def up_and_ask():
    up()
    get_kafka_connection().registry.schema(1)  # nobody listens there

def broken():
    up()
    raise RuntimeError(everything())
"""
CONSUMERS = """
schema_registry_url = "http://me:hunter-url%21@127.0.0.1:9"
sasl_username = "me"
sasl_password_file = "password"
[kafka.options]
"ssl.key.password" = "hunter-key"
[defaults]
settings = "mine:Patient"
[consumers.orders]
model = "mine:Order"
handler = "mine:handle"
on_startup = "mine:up"
partition_groups = [[0]]
[consumers.broken]
model = "mine:Order"
handler = "mine:handle"
on_startup = "mine:broken"
group_id = "broken"
restart = { policy = "never" }
[consumers.broken.kafka]
schema_registry_basic_auth_user_info = "me:hunter-own"
[consumers.asking]
model = "mine:Order"
handler = "mine:handle"
on_startup = "mine:up_and_ask"
group_id = "asking"
restart = { policy = "never" }
[consumers.asking.kafka]
sasl_password = "${FLEET_PASSWORD}"
"""
ENVIRONMENT = {
    "KAFKA_SASL_PASSWORD": "hunter-env",
    "SCHEMA_REGISTRY_API_KEY": "key",
    "SCHEMA_REGISTRY_API_SECRET": "hunter-api",
    "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "me:hunter-info",
    "FLEET_PASSWORD": "hunter-var",
}
PRELOADED = "import os\nraise RuntimeError('preloaded', os.environ['KAFKA_SASL_PASSWORD'])\n"
PAGES = ("/status", "/metrics", "/history", "/readyz", "/")


def arguments():
    """Of all processes of the fleet, which are those that have its environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"FLEET_PASSWORD=" in (process / "environ").read_bytes():
                yield (process / "cmdline").read_text(errors="replace")
        except OSError:
            continue


def test_secrets_of_files_environment_urls_options_and_overrides_are_hidden(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "password").write_text("hunter-file\n")
    (tmp_path / "shaky.py").write_text(PRELOADED)
    monkeypatch.setenv("TOLD", " ".join(ENVIRONMENT))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    socket = tmp_path / "control.sock"
    with (
        EmbeddedBroker() as broker,
        RealFleet(
            tmp_path,
            broker.bootstrap_servers,
            "hidden",
            CONSUMERS,
            control_socket=str(socket),
            preload=["shaky"],
        ) as fleet,
    ):
        wait_until(
            lambda: {s["state"] for s in fleet.slots()} == {"assigned", "failed"},
            PATIENCE,
            "one consumer runs and two have failed",
        )
        shown = [fleet.get(page)[1] for page in PAGES]
        shown.append(json.dumps(ask(socket, "GET", "/status")))
        processes = list(arguments())
        assert len(processes) >= 3, "supervisor, fork server and a worker"
        pids = [slot["pid"] for slot in fleet.slots() if slot["pid"]]
        assert fleet.stop() != 0
        until_dead(pids)
        log = fleet.text()
    failures = [line for line in fleet.log() if line["event"].startswith("the worker failed")]
    assert len(failures) == 2, log
    assert log.count("all of it") == 3
    assert log.count("[redacted]") > 20
    for what in ("a line of mine cannot be logged", "('too late'", "('preloaded', '[redacted]')"):
        assert what in log, what
    for text in (log, *shown, *processes):
        assert "hunter" not in text
