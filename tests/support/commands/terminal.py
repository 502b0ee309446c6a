"""A terminal that types the documentation's sessions, and compares what is printed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 40.0
COMMANDS = {"flowodm": "flowodm.cli", "flowodm-supervisor": "supervisor", "pytest": "pytest"}
INTERRUPT = "^C\n"


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a session and what it prints; ``...`` stands for anything."""

    command: str
    printed: str

    def fits(self, text: str) -> bool:
        pattern = ".*".join(map(re.escape, self.printed.strip().split("...")))
        return re.fullmatch(pattern, text.strip(), flags=re.DOTALL) is not None


def steps_of(session: str) -> list[Step]:
    """The commands of a console block, in their order."""
    parts = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    return [Step(*part.partition("\n")[::2]) for part in parts]


class Terminal:
    """A folder, the commands of this environment, and what runs in the background.

    Args:
        folder: An empty directory; what is typed runs there.
        environment: Variables of its own.

    Attributes:
        background: What was started with an ampersand.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self._say("python", "")
        for name, module in COMMANDS.items():
            self._say(name, f"-m {module}")
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        runtime = {"XDG_RUNTIME_DIR": str(folder), "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
        self._environment = {**os.environ, **runtime, "PATH": path, **environment}
        self.background: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.background:
            for how in (signal.SIGTERM, signal.SIGQUIT):
                if process.poll() is None:
                    process.send_signal(how)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(PATIENCE)

    def types(self, step: Step) -> None:
        """Run it, and compare. What only looks is asked again until it has come about."""
        if step.command.endswith("&"):
            self.background.append(self._begin(step.command.removesuffix("&"), subprocess.DEVNULL))
        elif INTERRUPT in step.printed:
            self._interrupts(step)
        elif re.search(r"\b(produce|replay|kill|restart|scale|stop|reload)\b", step.command):
            text = self.prints(step.command)
            assert step.fits(text), (step, text)
        else:
            seen: list[str] = []

            def come_about() -> bool:
                seen[:] = [self.prints(step.command)]
                return step.fits(*seen)

            with contextlib.suppress(AssertionError):
                wait_until(come_about, PATIENCE, step.command)
            assert step.fits(*seen), (step, *seen)

    def prints(self, command: str) -> str:
        """What it writes to stdout and stderr."""
        output, _ = self._begin(f"({command}) 2>&1").communicate(timeout=PATIENCE)
        return output

    def _interrupts(self, step: Step) -> None:
        """Let it print what comes before the ^C, type that, and let it end."""
        before, _, after = step.printed.partition(INTERRUPT)
        process = self._begin(f"{step.command} 2>&1")
        assert process.stdout is not None
        for line in before.splitlines(keepends=True):
            assert Step("", line).fits(process.stdout.readline()), line
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
        assert Step("", after).fits(rest), rest
        assert process.returncode == 0

    def _begin(self, command: str, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", command if command.startswith("(") else f"exec {command}"],
            stdout=output,
            text=True,
            cwd=self.folder,
            env=self._environment,
        )

    def _say(self, name: str, options: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        file.chmod(0o700)
