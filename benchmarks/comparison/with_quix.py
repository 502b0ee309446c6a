"""Quix Streams: at least once, as by default; one record after the other."""

from __future__ import annotations

import work
from quixstreams import Application


def main() -> None:
    app = Application(
        broker_address=work.KAFKA, consumer_group=work.GROUP, auto_offset_reset="earliest"
    )
    frame = app.dataframe(app.topic(work.TOPIC, value_deserializer="json"))
    frame.update(lambda record: work.handle(record["key"], record["number"]))
    app.run()


if __name__ == "__main__":
    main()
