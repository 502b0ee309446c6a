"""A loop that is started before its topic exists begins when the topic does."""

from __future__ import annotations

import threading
import uuid

from flowodm import ConsumerLoop, FlowBaseModel, connect
from support.brokers import records
from support.waiting import wait_until


def test_a_topic_that_is_made_later_is_consumed(kafka, group):
    name = f"later-{uuid.uuid4().hex[:8]}"

    class Later(FlowBaseModel):
        class Settings:
            topic = name
            consumer_group = group

        number: int

    connect(bootstrap_servers=kafka)
    seen: list[int] = []
    loop = ConsumerLoop(
        Later,
        lambda message: seen.append(message.number),
        commit_strategy="after_processing",
        consumer_config={"topic.metadata.refresh.interval.ms": 1000},
    )
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait_until(lambda: loop.status().state.value == "running", 10, "the loop runs")
        records.create_topic(kafka, name, partitions=1)
        Later(number=7).produce()
        wait_until(lambda: seen == [7], 30, "the record is handled")
    finally:
        loop.stop()
        thread.join(30)
