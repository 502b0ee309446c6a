"""One member of a consumer group in a process of its own; started by members.py.

It writes one line for everything that its test has to know, with the monotonic time, which all
processes of a machine share. A line is written at once and whole, so none is lost by SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowodm import AsyncConsumerLoop, ConsumerLoop, connect
from flowodm.events import Committed, Rebalanced
from support.loops import brisk, numbers_model

if TYPE_CHECKING:
    from flowodm.events import Event

#: Seconds that a record takes until the test lets the members hurry.
PACE = 0.005


class Trace:
    """The member's file."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, kind: str, *what: object) -> None:
        line = " ".join(map(str, (kind, time.monotonic(), *what)))
        os.write(self._fd, f"{line}\n".encode())

    def event(self, event: Event) -> None:
        """An observer."""
        if isinstance(event, Rebalanced):
            numbers = sorted(partition for _, partition in event.partitions)
            self(event.kind.value, *numbers)
        elif isinstance(event, Committed) and event.error is None:
            for (_, partition), offset in event.offsets.items():
                self("committed", partition, offset)


def build(told: dict[str, Any], trace: Trace) -> ConsumerLoop | AsyncConsumerLoop:
    """A loop of the kind that the test asks for."""
    hurry = Path(told["hurry"])

    def pace() -> float:
        return 0.0 if hurry.exists() else PACE

    def work(message: Any, context: Any) -> None:
        trace("begin", context.partition, context.offset, message.n)
        time.sleep(pace())  # the work itself
        trace("end", context.partition, context.offset, message.n)

    async def work_async(message: Any, context: Any) -> None:
        trace("begin", context.partition, context.offset, message.n)
        await asyncio.sleep(pace())  # the work itself
        trace("end", context.partition, context.offset, message.n)

    options = {
        "settings": brisk(**told["settings"]),
        "commit_interval": 0.2,
        "observers": [trace.event],
        **told["options"],
    }
    model = numbers_model(told["topic"], told["group"])
    if told["kind"] == "async":
        options["max_concurrent"] = 4
        return AsyncConsumerLoop(model, work_async, **options)
    if told["kind"] == "threads":
        options["max_concurrent"] = 4
    return ConsumerLoop(model, work, **options)


def main() -> None:
    signal.alarm(120)  # whatever becomes of the test
    told = json.loads(sys.argv[1])
    connect(bootstrap_servers=told["kafka"])
    loop = build(told, Trace(told["trace"]))
    if isinstance(loop, AsyncConsumerLoop):
        asyncio.run(loop.run())
    else:
        loop.run()


if __name__ == "__main__":
    main()
