"""flowodm 0.3.1 and this one: the same program, in the environment of either."""

from __future__ import annotations

import asyncio

import work

from flowodm import AsyncConsumerLoop, ConsumerLoop, FlowBaseModel, connect


class Record(FlowBaseModel):
    class Settings:
        topic = work.TOPIC
        consumer_group = work.GROUP
        value_serializer = work.FORMAT

    key: str
    number: int


def handle(record: Record) -> None:
    work.handle(record.key, record.number)


async def handle_soon(record: Record) -> None:
    await work.handle_soon(record.key, record.number)


def main() -> None:
    connect(bootstrap_servers=work.KAFKA)
    if work.CONCURRENCY > 1:
        loop = AsyncConsumerLoop(
            Record,
            handle_soon,
            max_concurrent=work.CONCURRENCY,
            commit_strategy="after_processing",
        )
        asyncio.run(loop.run())
    else:
        ConsumerLoop(Record, handle, commit_strategy="after_processing").run()


if __name__ == "__main__":
    main()
