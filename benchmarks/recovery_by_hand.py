"""What a good engineer writes instead of a supervisor: Popen, wait, Popen again; static members.

Run as a program: the parent, with the topic, the group, and the number of workers; it starts
itself again for each worker, with the worker's number behind these.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from io import BytesIO

import fastavro
from confluent_kafka import Consumer
from recovery_shop import Reading, note

from flowodm.avro.mapping import record_schema

BOOTSTRAP, TOPIC, GROUP, WORKERS, *NUMBER = sys.argv[1:]


def work(number: str) -> None:

    schema = fastavro.parse_schema(record_schema(Reading))
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": GROUP,
            "group.instance.id": f"by-hand-{number}",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 45_000,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC])
    due = time.monotonic() + 1
    while True:
        message = consumer.poll(0.1)
        if message is not None and not message.error():
            values = fastavro.schemaless_reader(BytesIO(message.value() or b""), schema, None)
            Reading.model_validate(values)
            note(message.partition() or 0)
        if time.monotonic() > due:
            due = time.monotonic() + 1
            consumer.commit(asynchronous=True)


async def look_after(number: int) -> None:
    while True:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *sys.argv, str(number), stdout=asyncio.subprocess.DEVNULL
        )
        await worker.wait()


async def look_after_all() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os.killpg, 0, signal.SIGKILL)
    await asyncio.gather(*(look_after(number) for number in range(int(WORKERS))))


if __name__ == "__main__":
    if NUMBER:
        work(NUMBER[0])
    else:
        asyncio.run(look_after_all())
