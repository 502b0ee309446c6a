"""FastStream with aiokafka: many workers are at least once, a partition's records one by one."""

from __future__ import annotations

import asyncio

import work
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel


class Record(BaseModel):
    key: str
    number: int


broker = KafkaBroker(work.KAFKA)
options = {"ack_policy": AckPolicy.ACK, "auto_offset_reset": "earliest", "group_id": work.GROUP}


@broker.subscriber(work.TOPIC, max_workers=work.CONCURRENCY, **options)
async def handle(record: Record) -> None:
    await work.handle_soon(record.key, record.number)


if __name__ == "__main__":
    asyncio.run(FastStream(broker).run())
