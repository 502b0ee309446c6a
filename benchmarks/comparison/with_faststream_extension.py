"""FastStream with aiokafka and faststream-concurrent-aiokafka, which is an extension by others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import work
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream_concurrent_aiokafka import (
    KafkaConcurrentProcessingMiddleware,
    initialize_concurrent_processing,
    stop_concurrent_processing,
)
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Record(BaseModel):
    key: str
    number: int


broker = KafkaBroker(work.KAFKA)
broker.add_middleware(KafkaConcurrentProcessingMiddleware)


@broker.subscriber(
    work.TOPIC, group_id=work.GROUP, auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL
)
async def handle(record: Record) -> None:
    await work.handle_soon(record.key, record.number)


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    await initialize_concurrent_processing(
        context=broker.context, concurrency_limit=work.CONCURRENCY
    )
    try:
        yield
    finally:
        await stop_concurrent_processing(broker.context)


if __name__ == "__main__":
    asyncio.run(FastStream(broker, lifespan=lifespan).run())
