"""flowodm-supervisor check does all that a start does but for the network."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from supervisor.report import ExitStatus

MINE = """
from flowodm import FlowBaseModel, LongRunningSettings

class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "mine"
    number: int

class NoGroup(FlowBaseModel):
    class Settings:
        topic = "orders"
    number: int

class NoTopic(FlowBaseModel):
    number: int

class NoAvro(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "mine"
    number: complex

class Contradictory(LongRunningSettings):
    heartbeat_interval_ms = 900_000

class Misspelt(LongRunningSettings):
    extra_config = {"fetch.mni.bytes": 1}

class UnavailableError(Exception): ...

def handle(order): ...
async def ahandle(order): ...
def no_message(): ...
def generator(order): yield
async def afailed(error, raw, message): ...
def two(one, other): ...
def three(one, other, third): ...
def forget(context): ...
def wanted(headers): return True
"""
HEAD = """
[supervisor]
http = ""
[kafka]
bootstrap_servers = "127.0.0.1:9"
"""


@pytest.fixture
def check(tmp_path):
    def check_consumers(head=HEAD, **consumers):
        """Exit status, facts by caption, and the problems, of consumers given as TOML lines."""
        text = head
        for name, lines in consumers.items():
            keys = {line.split(" = ")[0] for line in lines}
            defaults = {"model": '"mine:Order"', "handler": '"mine:handle"'}
            missing = [f"{key} = {value}" for key, value in defaults.items() if key not in keys]
            text += "\n".join([f"[consumers.{name}]", *missing, *lines, ""])
        (tmp_path / "fleet.toml").write_text(text)
        (tmp_path / "mine.py").write_text(MINE)
        done = subprocess.run(
            [sys.executable, "-m", "supervisor", "check", "fleet.toml"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        assert "Traceback" not in done.stderr, done.stderr
        lines = [line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line]
        facts = {caption.strip(): text.strip() for caption, text in lines}
        told = [line for line in done.stderr.splitlines() if " is not valid: " not in line]
        problems = [line.removeprefix("fleet.toml: ") for line in told]
        return done.returncode, facts, problems

    return check_consumers


def test_every_name_that_is_not_there_is_reported_and_a_broken_module_once(check, tmp_path):
    (tmp_path / "broken.py").write_text("print('imported', flush=True)\nimport nowhere\n")
    (tmp_path / "down.py").write_text("raise OSError('no database')\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    status, _, problems = check(
        orders=[
            'model = "mine:Odrer"',
            'handler = "broken:handle"',
            'error_handler = "broken:failed"',
            'on_startup = "down:up"',
            'on_shutdown = "leaves:down"',
            'tombstone_handler = "mine:forgt"',
            'header_filter = "mine:Order.Settings.topic"',
            "max_retries = 1",
            'retry_on = ["OSError", "mine:handle", "mine:UnavailableError"]',
            'never_retry = ["mine:UnavailbleError"]',
            'settings = "mine:Order"',
        ]
    )
    assert status == ExitStatus.CONFIGURATION
    assert problems == [
        "imported",
        'consumers.orders.model: mine has no Odrer (from mine:Odrer); did you mean "Order"?',
        "consumers.orders.handler: importing broken failed: No module named 'nowhere'",
        (
            "consumers.orders: OSError: no database; consumers.orders.on_startup: raised while "
            "importing down"
        ),
        (
            "consumers.orders: SystemExit: 3; consumers.orders.on_shutdown: raised while importing "
            "leaves"
        ),
        (
            "consumers.orders.tombstone_handler: mine has no forgt (from mine:forgt); did you mean "
            '"forget"?'
        ),
        "consumers.orders.header_filter: mine:Order.Settings.topic is str, not a function",
        (
            "consumers.orders.retry_on[1]: mine:handle is not an exception class: name a subclass "
            "of Exception"
        ),
        (
            "consumers.orders.never_retry[0]: mine has no UnavailbleError (from "
            'mine:UnavailbleError); did you mean "UnavailableError"?'
        ),
        "consumers.orders.settings: mine:Order is not a settings profile of flowodm",
    ]


# By the consumer's name: its lines, the key that the problem is put to, and words of it.
UNFIT = {
    "no_message": (['handler = "mine:no_message"'], "handler", "no_message() cannot be called"),
    "three": (['handler = "mine:three"'], "handler", "with (message, context): missing a required"),
    "generator": (['handler = "mine:generator"'], "handler", "is a generator function"),
    "batch": (
        ['handler = "mine:no_message"', "batch_size = 9"],
        "handler",
        "cannot be called with (messages)",
    ),
    "mixed": (['error_handler = "mine:afailed"'], "", "afailed is async: use AsyncConsumerLoop"),
    "failed": (
        ['error_handler = "mine:two"'],
        "error_handler",
        "two(one, other) cannot be called with (error, raw_message, message)",
    ),
    "hook": (['on_startup = "mine:two"'], "on_startup", "two(one, other) cannot be called with ()"),
    "tombstone": (
        ['tombstone_handler = "mine:two"'],
        "tombstone_handler",
        "two(one, other) cannot be called with (context)",
    ),
    "filter": (['header_filter = "mine:ahandle"'], "header_filter", "ahandle is async: it is"),
    "endless": (
        ['attempt_timeout = "5s"'],
        "attempt_timeout",
        "attempt_timeout needs AsyncConsumerLoop: nothing can end a plain function",
    ),
    "circle": (
        ['dead_letter_topic = "orders"'],
        "dead_letter_topic",
        "'orders' is the topic that is consumed: a dead letter would come back for ever; use",
    ),
    "no_group": (['model = "mine:NoGroup"'], "", "NoGroup has no consumer group: set"),
    "no_topic": (['model = "mine:NoTopic"', 'group_id = "mine"'], "", "NoTopic has no topic"),
    "no_avro": (['model = "mine:NoAvro"'], "", "NoAvro"),
    "contradictory": (
        ['settings = "mine:Contradictory"'],
        "settings",
        "mine:Contradictory cannot be made: Contradictory: heartbeat_interval_ms=900000 must be",
    ),
    "misspelt": (
        ['settings = "mine:Misspelt"'],
        "",
        'librdkafka refuses the configuration: No such configuration property: "fetch.mni.bytes"',
    ),
}
FIT = {
    "context": ['handler = "mine:two"'],
    "batches": ['handler = "mine:two"', "batch_size = 9", 'ordering = "unordered"'],
    "limited": ['handler = "mine:ahandle"', 'attempt_timeout = "5s"'],
    "all": [
        'error_handler = "mine:three"',
        'tombstone_handler = "mine:forget"',
        'header_filter = "mine:wanted"',
        "max_retries = 1",
        'retry_on = ["OSError", "mine:UnavailableError"]',
        'dead_letter_topic = "dead"',
        'start_from = "latest"',
    ],
}


def test_what_a_loop_or_librdkafka_refuses_is_reported_for_each_consumer_with_its_key(check):
    lines = {name: lines for name, (lines, _, _) in UNFIT.items()}
    status, _, problems = check(**lines, **FIT)
    assert status == ExitStatus.CONFIGURATION
    assert len(problems) == len(UNFIT), problems
    for problem, (name, (_, key, words)) in zip(problems, UNFIT.items(), strict=True):
        assert problem.startswith(f"consumers.{name}{'.' if key else ''}{key}: "), problem
        assert words in problem


def test_what_a_loop_takes_is_no_problem_and_is_explained(check):
    status, facts, problems = check(**FIT)
    assert (status, problems) == (ExitStatus.CLEAN, [])
    assert facts["starts"] == "at the latest record, if nothing is committed"
    assert facts["batches"] == "up to 9 messages, or those of 0.1 s"
    assert facts["failures"] == (
        "1 retry of OSError, mine:UnavailableError, then a copy goes to dead, then mine:three "
        "is called; the worker stops if more than 50% of the last 100 messages go there"
    )


def test_a_misspelt_property_of_librdkafka_is_reported_once_with_its_key(check):
    options = '[kafka.options]\n"sesion.timeout.ms" = 6000\n'
    status, _, problems = check(HEAD + options, first=[], second=[])
    assert status == ExitStatus.CONFIGURATION
    assert problems == [
        (
            'kafka.options."sesion.timeout.ms": librdkafka refuses the configuration: '
            'No such configuration property: "sesion.timeout.ms"'
        )
    ]


def test_a_value_that_librdkafka_refuses_is_reported_and_secrets_are_not(check):
    kafka = 'sasl_password = "hunter2"\n[kafka.options]\n"security.protocol" = "hunter2"\n'
    _, _, (problem,) = check(HEAD + kafka, orders=[])
    assert problem.startswith('kafka.options."security.protocol": librdkafka refuses')
    assert "hunter2" not in problem


def test_no_address_of_kafka_is_reported_once_with_its_key(check, monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    _, _, problems = check("", first=[], second=[])
    assert problems == [
        "kafka.bootstrap_servers: is missing; write it, or set KAFKA_BOOTSTRAP_SERVERS"
    ]


def test_nothing_is_connected_and_a_producers_property_is_no_problem(check):
    with (
        socket.create_server(("127.0.0.1", 0)) as kafka,
        socket.create_server(("127.0.0.1", 0)) as registry,
    ):
        head = HEAD.replace("127.0.0.1:9", f"127.0.0.1:{kafka.getsockname()[1]}")
        head += f'schema_registry_url = "http://127.0.0.1:{registry.getsockname()[1]}"\n'
        options = '[kafka.options]\nacks = "all"\n'
        status, facts, problems = check(head + options, orders=['dead_letter_topic = "dead"'])
        for server in (kafka, registry):
            server.settimeout(0.2)
            with pytest.raises(TimeoutError):
                server.accept()
    assert (status, problems) == (ExitStatus.CLEAN, [])
    assert facts["topic"] == "orders"
