"""FastStream with confluent-kafka. Many workers are at most once: it refuses the rest."""

from __future__ import annotations

import asyncio

import work
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker
from pydantic import BaseModel


class Record(BaseModel):
    key: str
    number: int


broker = KafkaBroker(work.KAFKA)
many = {"max_workers": work.CONCURRENCY} if work.CONCURRENCY > 1 else {"ack_policy": AckPolicy.ACK}


@broker.subscriber(work.TOPIC, group_id=work.GROUP, auto_offset_reset="earliest", **many)
async def handle(record: Record) -> None:
    await work.handle_soon(record.key, record.number)


if __name__ == "__main__":
    asyncio.run(FastStream(broker).run())
