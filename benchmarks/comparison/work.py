"""The work of every program that is compared: the same handler, told by the environment.

Only Python's own library is needed, as each program runs in the environment of its framework. What
was handled is a line in a file: "key number begun ended pid", the times of the machine's monotonic
clock. A line survives SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time

KAFKA = os.environ.get("COMPARE_KAFKA", "localhost:9092")
TOPIC = os.environ.get("COMPARE_TOPIC", "compared")
GROUP = os.environ.get("COMPARE_GROUP", "compared")
FORMAT = os.environ.get("COMPARE_FORMAT", "json")
CONCURRENCY = int(os.environ.get("COMPARE_CONCURRENCY", "1"))
#: Mean seconds that a record takes; 0: no wait at all.
DELAY = float(os.environ.get("COMPARE_DELAY", "0"))
#: The record that always fails, or -1.
POISON = int(os.environ.get("COMPARE_POISON", "-1"))

_notes: list[int] = []


def _note(key: str, number: int, begun: float) -> None:
    if not _notes:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        _notes.append(os.open(os.environ["COMPARE_NOTES"], flags, 0o600))
    line = f"{key} {number} {begun:.6f} {time.monotonic():.6f} {os.getpid()}\n"
    os.write(_notes[0], line.encode())


def _delay(number: int) -> float:
    """Between a fifth and nine fifths of the mean, the same for a record whenever it is handled."""
    return DELAY * random.Random(number).uniform(0.2, 1.8)


def _finish(key: str, number: int, begun: float) -> None:
    _note("poison" if number == POISON else key, number, begun)
    if number == POISON:
        raise ValueError(f"record {number} always fails")


async def handle_soon(key: str, number: int) -> None:
    begun = time.monotonic()
    if DELAY:
        await asyncio.sleep(_delay(number))
    _finish(key, number, begun)


def handle(key: str, number: int) -> None:
    begun = time.monotonic()
    if DELAY:
        time.sleep(_delay(number))
    _finish(key, number, begun)


def parsed(value: bytes) -> tuple[str, int]:
    found = json.loads(value)
    return found["key"], found["number"]
