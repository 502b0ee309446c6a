"""The command `flowodm` in processes of its own, in a folder with models of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Self

TIMEOUT = 60.0
PATIENCE = 2.0
COMMAND = (sys.executable, "-m", "flowodm.cli")
HOST = Path(__file__).with_name("flowodm_command_host.py")
MODELS = '''
import os

from flowodm import FlowBaseModel

print("what a module prints is no part of an answer")


class Base(FlowBaseModel):
    """Names no topic, so nobody validates it."""


class Order(Base):
    class Settings:
        topic = os.environ.get("SHOP_TOPIC", "shop-orders")
        key_field = "customer"

    number: int
    customer: str = "nobody"
'''


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def told(self):
        """Its answer, which is JSON."""
        return json.loads(self.stdout)

    @property
    def lines(self):
        """Its answer, which is JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class CommandHost:
    """Runs the command again and again without importing it again."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(HOST)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=TIMEOUT)

    def run(self, **request: object) -> int:
        """The exit status; AssertionError if there is none in time."""
        process = self._process
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], TIMEOUT)[0]:
            process.kill()
            raise AssertionError(f"{request['arguments']} did not end within {TIMEOUT:g} s")
        return int(process.stdout.readline())


class Shop:
    """A folder with a module ``shop``, whose model ``Order`` is of the topic given."""

    def __init__(
        self, host: CommandHost, folder: Path, topic: str = "shop-orders", **environment: str
    ) -> None:
        self.folder = folder
        self.topic = topic
        self.environment = {**os.environ, "SHOP_TOPIC": topic, **environment}
        self._host = host
        (folder / "shop.py").write_text(MODELS)

    def runs(self, *arguments: str, stdin: str = "") -> Done:
        """Run the command to its end, with a patience of 2 s for brokers that do not answer."""
        names = ("stdin", "stdout", "stderr")
        streams = {name: self.folder / f"{name}.txt" for name in names}
        for name, path in streams.items():
            path.write_text(stdin if name == "stdin" else "")
        status = self._host.run(
            arguments=arguments,
            folder=str(self.folder),
            environment=self.environment,
            patience=PATIENCE,
            **{name: str(path) for name, path in streams.items()},
        )
        return Done(status, streams["stdout"].read_text(), streams["stderr"].read_text())

    def starts(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start the command beside the test, which sees to its end."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "cwd": self.folder,
                "env": self.environment,
                **options,
            },
        )
