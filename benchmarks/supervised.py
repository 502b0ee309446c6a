"""A fleet under the command, as its benchmarks start, ask and end it; and what processes cost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from supervisor.control.client import UnreachableError, ask

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
#: Seconds that anything may take before the benchmark gives up.
PATIENCE = 120.0
TICKS = os.sysconf("SC_CLK_TCK")

FLEET = """
[supervisor]
http = "127.0.0.1:0"
instance_id = "bench"
control_socket = "{folder}/control"
drain_timeout = "20s"
log_level = "warning"
{supervisor}
[kafka]
bootstrap_servers = "{bootstrap}"
[kafka.options]
"auto.offset.reset" = "earliest"
{options}
[consumers.readings]
model = "supervised_shop:Reading"
handler = "supervised_shop:{handler}"
group_id = "{group}"
commit_strategy = "after_processing"
{consumer}
"""


class Supervised:
    """``with Supervised(...) as fleet:`` the command, running; killed at the end if need be.

    Args:
        folder: An empty one.
        bootstrap: Kafka.
        topic: What is consumed; also the group's name.
        consumer: The consumer's further lines, its number of workers above all.
        handler: The name of a handler in supervised_shop.
        options: Lines for [kafka.options].
        supervisor: Lines for [supervisor].
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        topic: str,
        consumer: str,
        *,
        handler: str = "note",
        options: str = "",
        supervisor: str = "",
    ) -> None:
        self.topic = topic
        self.notes = folder / "notes"
        self.notes.mkdir()
        self._folder = folder
        self._config = folder / "fleet.toml"
        self._config.write_text(
            FLEET.format(
                folder=folder,
                bootstrap=bootstrap,
                group=topic,
                consumer=consumer,
                handler=handler,
                options=options,
                supervisor=supervisor,
            )
        )
        self._environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "SUPERVISED_TOPIC": topic,
            "SUPERVISED_NOTES": str(self.notes),
        }
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor", "run", str(self._config)],
                env=self._environment,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            sys.stderr.write((self._folder / "log").read_text()[-4000:])
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def ask(self, method: str, what: str, **arguments: Any) -> dict[str, Any]:
        """Over the control socket; it may not be there yet."""
        return until(lambda: self._ask(method, what, arguments), f"{what} is answered")

    def _ask(self, method: str, what: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the supervisor has ended: {self.process.returncode}")
        try:
            return ask(self._folder / "control", method, what, **arguments)
        except UnreachableError:
            return None

    def slots(self) -> list[dict[str, Any]]:
        status = self.ask("GET", "/status")
        return [slot for each in status["consumers"].values() for slot in each["slots"]]

    def until_ready(self, workers: int) -> list[int]:
        """Wait until so many workers are assigned; returns their pids."""

        def ready() -> list[int]:
            status = self.ask("GET", "/status")
            slots = [slot for each in status["consumers"].values() for slot in each["slots"]]
            complete = status["ready"] and not status["changing"] and len(slots) == workers
            return [slot["pid"] for slot in slots] if complete else []

        return until(ready, f"{workers} workers are assigned")


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"did not become true: {what}")
        time.sleep(0.05)
    return value


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of a process (man 5 proc)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> tuple[float, float]:
    """Megabytes of a process that are in RAM, and that no other process shares (RSS, USS)."""
    sizes = {"Rss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] = int(value.split()[0])
    return sizes["Rss"] / 1000, (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1000
