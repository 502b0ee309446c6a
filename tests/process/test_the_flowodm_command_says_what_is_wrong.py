"""The command `flowodm` without any Kafka: help, statuses, errors without tracebacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from flowodm.cli.process import ExitStatus
from support.brokers.jvm import free_port
from support.commands.flowodm_command import COMMAND

COMMANDS = (
    "validate",
    "check-compatibility",
    "upload-schema",
    "list-subjects",
    "get-schema",
    "generate-model",
    "produce",
    "consume",
    "dead-letters",
    "dev-broker",
)
NEEDS_REGISTRY = (
    ["validate", "--models", "shop", "--registry"],
    ["check-compatibility", "--models", "shop"],
    ["list-subjects"],
    ["get-schema", "--subject", "shop-orders-value"],
)


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="flowodm")
    assert command.value == "flowodm.cli:main"


def test_without_a_command_it_helps_and_names_all_of_them_and_the_exit_statuses(shop):
    done = shop.runs()
    assert (done.status, done.stderr) == (ExitStatus.DONE, "")
    assert done.stdout == shop.runs("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout, name
    for status in ExitStatus:
        assert f"    {status.value} " in done.stdout, status


def test_version(shop):
    assert shop.runs("--version").stdout == f"flowodm {version('flowodm-supervisor')}\n"


def test_shells_can_complete_it(shop):
    shop.environment |= {"_FLOWODM_COMPLETE": "complete_bash", "COMP_WORDS": "flowodm li"}
    shop.environment["COMP_CWORD"] = "1"
    assert "list-subjects" in shop.runs().stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["validate"],
        ["validate", "--models", "shop"],
        ["check-compatibility"],
        ["check-compatibility", "--models", "shop", "--model", "shop:Order"],
        ["check-compatibility", "--models", "shop", "--subject", "shop-value"],
        ["check-compatibility", "--model", "shop:Order", "--level", "SIDEWARD"],
        ["upload-schema", "--avro", "order.avsc"],
        ["get-schema", "--subject", "orders-value", "--version", "newest"],
        ["generate-model", "--topic", "orders"],
        ["generate-model", "--topic", "orders", "--subject", "a", "--avro", "b"],
        ["consume", "shop:Order", "--from", "later"],
        ["consume", "shop:Order", "--max", "-1"],
        ["dead-letters"],
        ["dev-broker", "--brokers", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_status_2(shop, arguments):
    done = shop.runs(*arguments)
    assert done.status == ExitStatus.USAGE, done
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ["consume", "shop:Order"],
            "no address of Kafka .*; for this command: --bootstrap-servers",
        ),
        (
            ["produce", "shop:Order"],
            "no address of Kafka .*; for this command: --bootstrap-servers",
        ),
        (
            ["dead-letters", "list", "orders.DLT"],
            "no address of Kafka .*; for this command: --bootstrap-servers",
        ),
        (["consume", "shop:Ordr"], 'shop has no Ordr .*; did you mean "Order"'),
        (["validate", "--models", "shoppe", "--registry"], "there is no module shoppe"),
        (["produce", "shop:Order", "no.jsonl", "-b", "x"], "no.jsonl cannot be read"),
        (["generate-model", "--topic", "o", "--avro", "no.avsc"], "no.avsc cannot be read"),
        (["generate-model", "--topic", "o", "--avro", "shop.py"], "shop.py cannot be read: .*JSON"),
        (
            ["consume", "shop:Order", "-b", "x", "-X", "hunter2"],
            "-X, property 1: must be NAME=VALUE",
        ),
        (["consume", "shop:Order", "-b", "x", "-X", "no.such=1"], "no.such"),
        (["consume", "shop:Order", "-b", "x", "--config", "no.cfg"], "no.cfg cannot be read"),
        *((arguments, "no schema registry: set SCHEMA_REG") for arguments in NEEDS_REGISTRY),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_is_missing_or_wrong_is_one_line_and_status_78(shop, arguments, why):
    done = shop.runs(*arguments)
    assert (done.status, done.stdout) == (ExitStatus.CONFIGURATION, ""), done
    said = done.stderr.splitlines()[-1]
    assert said.startswith("flowodm: ")
    assert re.search(why, said), said
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("arguments", NEEDS_REGISTRY, ids=lambda arguments: arguments[0])
def test_a_registry_that_does_not_answer_is_a_failure_and_never_a_pass(shop, arguments):
    url = f"http://someone:hunter2@127.0.0.1:{free_port()}"
    done = shop.runs(*arguments, "--registry-url", url)
    assert done.status == ExitStatus.UNREACHABLE, done
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["consume", "shop:Order", "--follow"],
        ["produce", "shop:Order"],
        ["dead-letters", "replay", "orders.DLT"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_kafka_that_does_not_answer_is_said_with_the_clients_reason(shop, arguments):
    address = f"127.0.0.1:{free_port()}"
    done = shop.runs(*arguments, "-b", address)
    assert (done.status, done.stdout) == (ExitStatus.UNREACHABLE, "")
    assert "no answer from Kafka within 2 s" in done.stderr
    assert f"{address}/bootstrap: Connect to" in done.stderr
    assert "Connection refused" in done.stderr
    assert len(done.stderr.splitlines()) < 10, "the same is not said again and again"
    assert "Traceback" not in done.stderr


def test_the_log_has_the_traceback_of_a_module_that_fails(shop):
    (shop.folder / "shop.py").write_text("def broken():\n    raise LookupError\nbroken()\n")
    assert "Traceback" not in shop.runs("consume", "shop:Order").stderr
    said = shop.runs("--verbose", "consume", "shop:Order").stderr
    assert 'shop.py", line 2, in broken' in said
    assert said.splitlines()[-1].startswith("flowodm: importing shop failed: LookupError")


def test_the_answer_is_utf_8_wherever_it_is_read(shop):
    shop.environment["PYTHONIOENCODING"] = "latin-1"
    command = ("validate", "--models", "shop", "--schemas-dir", "€😀", "--json")
    out, said = shop.starts(*command, encoding="utf-8").communicate(timeout=60)
    assert json.loads(out)["models"][0]["source"] == "€😀", said


def test_properties_come_from_the_command_line_and_from_a_file(shop):
    (shop.folder / "kafka.cfg").write_text(
        "# our cluster\n\nsasl.password = hunter2\nsecurity.protocol=nonsense\n"
    )
    done = shop.runs("consume", "shop:Order", "-b", "x", "--config", "kafka.cfg")
    assert done.status == ExitStatus.CONFIGURATION
    assert "security.protocol" in done.stderr
    assert "hunter2" not in done.stderr


def test_what_the_models_module_gave_to_connect_stays(shop):
    with (shop.folder / "shop.py").open("a") as module:
        module.write(
            "from flowodm import connect\n"
            "connect('elsewhere', consumer_config={'security.protocol': 'nonsense'})\n"
        )
    done = shop.runs("consume", "shop:Order", "-b", "x")
    assert done.status == ExitStatus.CONFIGURATION
    assert "security.protocol" in done.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_and_for_those_who_want_them(shop, no_color, coloured):
    (shop.folder / "shop-orders.avsc").write_text('{"type": "string"}')
    ours, theirs = os.openpty()
    command = ["validate", "--models", "shop", "--schemas-dir", "."]
    shop.environment |= {"TERM": "xterm", "NO_COLOR": no_color}
    shop.starts(*command, stdout=theirs).communicate(timeout=60)
    text = os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert b"shop:Order: not valid" in text
    assert (b"\x1b[31m" in text) is coloured
    assert "\x1b[" not in shop.runs(*command).stdout


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        pytest.param(
            ">/dev/full",
            ExitStatus.OUTPUT_FAILED,
            "No space left on device",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it"),
        ),
        (">&-", ExitStatus.DONE, ""),
        ("| true", ExitStatus.OUTPUT_FAILED, ""),
    ],
)
def test_an_output_that_cannot_be_written_is_status_74(shop, redirection, status, said):
    """Except that who closes it does not want it, and who reads no further knows why."""
    command = f"{' '.join(COMMAND)} --version; echo $? >&3"
    done = subprocess.run(
        ["bash", "-c", f"exec 3>status; ({command}) {redirection}"],
        cwd=shop.folder,
        env=shop.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert int((shop.folder / "status").read_text()) == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) is bool(said)
