"""flowodm-supervisor check: --online, --strict, --json, and the neighbours in the environment."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

import supervisor
from flowodm.testing.broker import EmbeddedBroker
from supervisor.report import ExitStatus

MINE = """
from flowodm import FlowBaseModel

class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "mine"
    number: int

def handle(order): ...
async def ahandle(order): ...
"""
CONSUMER = """
[consumers.orders]
model = "mine:Order"
handler = "mine:handle"
"""
BROKEN_CHAIN = CONSUMER.replace("mine:handle", "mine:ahandle") + 'attempt_timeout = "1m"\n'
NOBODY = '[kafka]\nbootstrap_servers = "127.0.0.1:9"\n'


@pytest.fixture
def command(tmp_path):
    def run(text, *arguments, **environment):
        (tmp_path / "fleet.toml").write_text(text)
        (tmp_path / "mine.py").write_text(MINE)
        done = subprocess.run(
            [sys.executable, "-m", "supervisor", *arguments, "fleet.toml"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_a_warning_names_file_key_and_way_out_and_fails_only_where_it_is_asked_to(command):
    done = command(NOBODY + BROKEN_CHAIN, "check")
    assert done.returncode == 0
    assert done.stderr == (
        "fleet.toml: warning: consumers.orders.attempt_timeout: 60s is not below drain_timeout "
        "(30s): a stop may end a handler that is still allowed to run; write [consumers.orders] "
        'drain_timeout = "65s", or a shorter attempt_timeout\n'
    )
    assert "fleet.toml is valid, with 1 warning" in done.stdout
    assert "ended within 45 s of a stop: systemd's TimeoutStopSec=" in done.stdout
    assert command(NOBODY + BROKEN_CHAIN, "check", "--strict").returncode == 78
    assert command(NOBODY + CONSUMER, "check", "--strict").returncode == 0


def test_the_profiles_and_options_of_a_consumer_are_in_the_chain(command):
    options = """
[consumers.orders.kafka.options]
"session.timeout.ms" = 7000
"heartbeat.interval.ms" = 3000
"""
    done = command(NOBODY + CONSUMER + options, "check")
    assert '"heartbeat.interval.ms": 3s is more than a third of session.timeout.ms (7s)' in (
        done.stderr
    )
    wrong = options.replace("session.timeout.ms", "session.timeot.ms")
    done = command(NOBODY + CONSUMER + wrong, "check")
    assert 'consumers.orders.kafka.options."session.timeot.ms": ' in done.stderr


def test_scripts_get_json_whether_the_file_is_valid_or_not(command):
    done = command(NOBODY + BROKEN_CHAIN, "check", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (told["valid"], told["problems"], told["stop_seconds"]) == (True, [], 45)
    assert told["warnings"][0]["key"] == "consumers.orders.attempt_timeout"
    assert told["consumers"]["orders"]["topic"] == "orders"
    assert "at most once" in told["consumers"]["orders"]["delivery"]
    done = command(NOBODY + CONSUMER + "wokers = 3\n", "check", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["valid"]) == (ExitStatus.CONFIGURATION, False)
    assert told["problems"] == [
        {
            "key": "consumers.orders.wokers",
            "what": "is an unknown key",
            "hint": 'did you mean "workers"?',
        }
    ]
    done = command(NOBODY + CONSUMER.replace("mine:handle", "mine:hanlde"), "check", "--json")
    assert json.loads(done.stdout)["problems"][0]["key"] == "consumers.orders.handler"


def test_online_a_broker_that_is_not_there_is_a_problem_that_says_why(command):
    done = command(NOBODY + CONSUMER, "check", "--online")
    assert done.returncode == ExitStatus.CONFIGURATION
    assert "fleet.toml: kafka.bootstrap_servers: no broker answers: " in done.stderr
    assert "Connection refused" in done.stderr


def test_online_topics_and_partitions_are_looked_at_and_no_topic_is_made(command):
    with EmbeddedBroker() as broker:
        kafka = f'[kafka]\nbootstrap_servers = "{broker.bootstrap_servers}"\n'
        done = command(kafka + CONSUMER, "check", "--online")
        assert "consumers.orders.model: the topic orders does not exist" in done.stderr
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce("orders", b"")  # makes it, with four partitions
        assert producer.flush(30) == 0
        text = kafka + CONSUMER + 'dead_letter_topic = "nowhere"\n'
        for _ in range(2):
            done = command(text + "workers = 5\n", "check", "--online")
            assert done.returncode == 0, done.stderr
            assert "5 workers share the 4 partitions of orders: 1 has nothing to do" in done.stderr
            assert "the topic nowhere does not exist" in done.stderr
        done = command(text + "partition_groups = [[0, 1, 2], [3, 4]]\n", "check", "--online")
        assert done.returncode == ExitStatus.CONFIGURATION
        assert "partition_groups: has partitions that orders does not have: 4" in done.stderr


@pytest.fixture
def supervisord(tmp_path):
    """A folder in which the other distribution of this name is installed."""
    folder = tmp_path / "site"
    info = folder / "supervisor-4.2.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: supervisor\nVersion: 4.2.5\n")
    (info / "RECORD").write_text("supervisor/http.py,,\nsupervisor/supervisord.py,,\n")
    return folder


def test_another_distribution_with_our_packages_is_named(command, supervisord):
    done = command(NOBODY + CONSUMER, "check", PYTHONPATH=str(supervisord))
    assert done.returncode == 0
    assert done.stderr.startswith(
        f'fleet.toml: warning: environment: supervisor 4.2.5 also installs "supervisor", in '
        f"{supervisord}: it and flowodm-supervisor overwrite each other's files; install"
    )


def test_a_run_names_it_in_the_log(command, supervisord):
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that the run ends at once
        http = f'[supervisor]\nhttp = "127.0.0.1:{taken.getsockname()[1]}"\n'
        done = command(http + NOBODY + CONSUMER, "run", PYTHONPATH=str(supervisord))
    assert done.returncode == ExitStatus.UNAVAILABLE
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    (named,) = [line for line in lines if "also installs" in line["event"]]
    assert named["level"] == "warning"


def test_if_it_has_overwritten_our_files_that_is_what_is_said(command, supervisord):
    shutil.copytree(Path(supervisor.__file__).parent, supervisord / "supervisor")
    (supervisord / "supervisor/protocol.py").write_text("class deferring_http_channel: ...\n")
    done = command(NOBODY + CONSUMER, "run", PYTHONPATH=str(supervisord))
    assert done.returncode == ExitStatus.UNAVAILABLE
    assert done.stderr.startswith('flowodm-supervisor: supervisor 4.2.5 also installs "supervis')
