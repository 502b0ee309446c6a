"""The fleet's side of recovery.py: a model, and a handler that notes where and when it was called.

One line a record in a file a process, "partition monotonic-nanoseconds": the clock is the same
in every process of the machine, and what was noted survives SIGKILL.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from flowodm import FlowBaseModel, MessageContext

_open: dict[int, int] = {}


class Reading(FlowBaseModel):
    class Settings:
        topic = os.environ.get("RECOVERY_TOPIC", "recovery")

    number: int


def note(partition: int) -> None:
    pid = os.getpid()
    if pid not in _open:
        path = Path(os.environ["RECOVERY_NOTES"], str(pid))
        _open[pid] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_open[pid], f"{partition} {time.monotonic_ns()}\n".encode())


def handle(_reading: Reading, context: MessageContext) -> None:
    note(context.partition)
