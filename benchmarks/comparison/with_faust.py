"""Faust (faust-streaming): one agent."""

from __future__ import annotations

import sys

import faust
import work


class Record(faust.Record, serializer="json"):
    key: str
    number: int


app = faust.App(
    work.GROUP,
    broker=f"kafka://{work.KAFKA}",
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    topic_disable_leader=True,
    store="memory://",
)


@app.agent(app.topic(work.TOPIC, value_type=Record), concurrency=work.CONCURRENCY)
async def handle(records: faust.StreamT[Record]) -> None:
    async for record in records:
        await work.handle_soon(record.key, record.number)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--loglevel", "warn"]
    app.main()
