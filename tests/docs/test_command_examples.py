"""docs/command.md: its commands run in their order, and print what the page says."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from flowodm.cli import connecting
from flowodm.cli.process import ExitStatus
from flowodm.consumer.dead_letters import headers as letters
from flowodm.registry.properties import REQUEST_TIMEOUT
from support.brokers.records import Raw, create_topic, produce

TEXT = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")
(MODEL,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
SESSIONS = re.findall(r"^```console\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "number", "type": "long"},
        {"name": "customer", "type": "string"},
        {"name": "amount", "type": "double", "default": 0.0},
    ],
}


class Terminal:
    """Types commands as a reader would, with topics of its own."""

    def __init__(self, folder: Path, kafka: str, registry: str) -> None:
        self.folder = folder
        self.topic = f"orders-{uuid.uuid4().hex[:8]}"
        command = folder / "bin" / "flowodm"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flowodm.cli "$@"\n')
        command.chmod(0o700)
        self.environment = {
            **os.environ,
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry,
        }
        (folder / "shop.py").write_text(self.own(MODEL))
        (folder / "order.avsc").write_text(json.dumps(SCHEMA))

    def own(self, text: str) -> str:
        """The text with the name of our topic."""
        return re.sub(r"\borders\b", self.topic, text)

    def types(self, command: str) -> str:
        """What the command prints, on stderr and on stdout."""
        return subprocess.run(
            ["bash", "-c", f"({self.own(command)}) 2>&1"],
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder,
            env=self.environment,
        ).stdout


@pytest.fixture
def terminal(tmp_path, kafka, registry):
    terminal = Terminal(tmp_path, kafka, registry)
    dead = terminal.own("orders.DLT")
    for name in (terminal.topic, dead):
        create_topic(kafka, name, 1)
    why = (
        (letters.TOPIC, terminal.topic.encode()),
        (letters.PARTITION, struct.pack(">i", 0)),
        (letters.OFFSET, struct.pack(">q", 17)),
        (letters.GROUP, b"shipping"),
        (letters.EXCEPTION, b"ValueError"),
        (letters.MESSAGE, b"no such street"),
    )
    produce(kafka, dead, [Raw(b"value", b"ann", 0, why)])
    return terminal


def test_the_commands_print_what_the_page_says(terminal):
    for session in SESSIONS:
        for step in session.removeprefix("$ ").split("\n$ "):
            command, _, expected = step.partition("\n")
            printed = terminal.types(command)
            pattern = ".*".join(map(re.escape, terminal.own(expected).strip().split("...")))
            assert re.fullmatch(pattern, printed.strip(), flags=re.DOTALL), (command, printed)


def test_the_statuses_and_numbers_of_the_page_are_those_of_the_command():
    statuses = {int(number) for number in re.findall(r"^\| (\d+) \|", TEXT, flags=re.MULTILINE)}
    assert statuses == {status.value for status in ExitStatus}
    words = f"given up after {connecting.ANSWER_TIMEOUT:g} s (a registry after {REQUEST_TIMEOUT:g})"
    assert words in TEXT.replace("\n", " ")
