"""A careful loop by hand: an offset is stored when its record is handled, and committed in time."""

from __future__ import annotations

import signal

import work
from confluent_kafka import Consumer

running = True


def stop(*_: object) -> None:
    global running  # noqa: PLW0603  # as such loops do
    running = False


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    consumer = Consumer(
        {
            "bootstrap.servers": work.KAFKA,
            "group.id": work.GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([work.TOPIC])
    while running:
        message = consumer.poll(0.5)
        if message is None or message.error():
            continue
        work.handle(*work.parsed(message.value()))
        consumer.store_offsets(message)
    consumer.close()


if __name__ == "__main__":
    main()
