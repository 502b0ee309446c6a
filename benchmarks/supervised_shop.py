"""The fleet's side of supervision.py: a model, and handlers that note or work."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from flowodm import FlowBaseModel, MessageContext

_open: dict[int, int] = {}
#: Times that a record is hashed: about a millisecond of one core.
ROUNDS = 5000


class Reading(FlowBaseModel):
    class Settings:
        topic = os.environ.get("SUPERVISED_TOPIC", "supervised")

    number: int


def note(_reading: Reading, context: MessageContext) -> None:
    """A line "partition monotonic-nanoseconds" in a file a process."""
    pid = os.getpid()
    if pid not in _open:
        path = Path(os.environ["SUPERVISED_NOTES"], str(pid))
        _open[pid] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_open[pid], f"{context.partition} {time.monotonic_ns()}\n".encode())


def work(reading: Reading, context: MessageContext) -> None:
    """Nothing but CPU, and Python's own."""
    toil(reading.number)
    note(reading, context)


def toil(number: int) -> None:
    digest = str(number).encode()
    for _ in range(ROUNDS):
        digest = hashlib.sha256(digest).digest()
