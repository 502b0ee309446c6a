"""flowodm dev-broker: a Kafka for as long as the command, or what it runs, lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

import pytest

from flowodm.cli.process import ExitStatus
from support.brokers.records import produce, read_all
from support.waiting import wait_until

PATIENCE = 30.0


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_its_address_and_serves_until_it_is_told_to_end(shop, number):
    serving = shop.starts("dev-broker", "--json", "--brokers", "2")
    told = json.loads(serving.stdout.readline())
    addresses = told["bootstrap_servers"].split(",")
    assert len(addresses) == 2
    produce(told["bootstrap_servers"], "orders", [b"one"])
    assert [record.value() for record in read_all(told["bootstrap_servers"], "orders")] == [b"one"]

    serving.send_signal(number)
    assert serving.communicate(timeout=PATIENCE) == ("", "")
    assert serving.returncode == ExitStatus.DONE
    assert not any(map(listens, addresses))


def test_it_says_when_the_broker_has_died(shop):
    serving = shop.starts("dev-broker", "--json")
    os.kill(json.loads(serving.stdout.readline())["pid"], signal.SIGKILL)
    _, said = serving.communicate(timeout=PATIENCE)
    assert serving.returncode == ExitStatus.UNAVAILABLE
    assert "flowodm: the broker has died" in said


def test_a_broker_does_not_outlive_a_command_that_was_killed(shop):
    serving = shop.starts("dev-broker", "--json")
    told = json.loads(serving.stdout.readline())
    serving.kill()
    serving.communicate(timeout=PATIENCE)
    wait_until(lambda: not listens(told["bootstrap_servers"]), PATIENCE, "the broker has ended")


def test_a_command_gets_the_address_and_gives_its_status(shop):
    code = "import os; print(os.environ['KAFKA_BOOTSTRAP_SERVERS']); raise SystemExit(7)"
    done = shop.runs("dev-broker", sys.executable, "-c", code)
    assert done.status == 7
    assert done.stdout.startswith("127.0.0.1:")
    assert not listens(done.stdout.strip())


def test_with_it_the_other_commands_need_no_kafka(shop):
    script = (
        """echo '{"number": 1}' | {0} produce shop:Order && {0} consume shop:Order"""
    ).replace("{0}", f"{sys.executable} -m flowodm.cli")
    done = shop.runs("dev-broker", "--", "sh", "-c", script)
    assert done.status == 0, done
    assert done.lines == [{"number": 1, "customer": "nobody"}]


@pytest.mark.parametrize(("command", "status"), [("no-such-command", 127), ("./shop.py", 126)])
def test_a_command_that_cannot_be_run_is_said_as_shells_do(shop, command, status):
    done = shop.runs("dev-broker", command)
    assert done.status == status
    assert f"flowodm: {command}: " in done.stderr


def test_a_signal_that_ends_the_command_is_in_the_status(shop):
    done = shop.runs("dev-broker", "sh", "-c", "kill -KILL $$")
    assert done.status == 128 + signal.SIGKILL


def test_sigterm_is_for_the_command_that_it_runs(shop):
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    serving = shop.starts("dev-broker", "sh", "-c", script)
    assert serving.stdout.readline() == "ready\n"
    serving.terminate()
    serving.communicate(timeout=PATIENCE)
    assert serving.returncode == 5
