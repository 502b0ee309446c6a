"""docs/handlers.md: its examples run in their order on a real Kafka, and do what the text says."""

from __future__ import annotations

import re
import sys
import uuid
from pathlib import Path

import pytest

from flowodm.avro.codec import codec_for
from flowodm.events import Outcome
from support.brokers.records import Raw, committed_offsets, create_topic, end_offsets, produce
from support.loops import PATIENCE, Events, Running
from support.waiting import wait_until

TEXT = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
MODEL, CONTEXT, CONCURRENT, BATCH, FAILING_BATCH, TOMBSTONE, FILTER, START = BLOCKS


class Reader:
    """Types the examples into one program, with a topic and a group of its own."""

    def __init__(self, kafka):
        self.kafka = kafka
        self.topic = f"orders-{uuid.uuid4().hex[:8]}"
        self.names = {"__name__": "examples"}
        create_topic(kafka, self.topic, 1)
        self.executes(MODEL)

    def executes(self, block):
        source = block.replace("localhost:9092", self.kafka).replace('"orders"', f'"{self.topic}"')
        source = source.replace("order-processor", f"of-{self.topic}")
        source = source.replace("order-audit", f"audit-of-{self.topic}")
        exec(compile(source, "handlers.md", "exec", dont_inherit=True), self.names)

    def produces(self, *ids, headers=()):
        model = self.names["OrderEvent"]
        for name in ids:
            value = codec_for(model).encode(model(order_id=name, customer_id="c", amount=1.0))
            produce(self.kafka, self.topic, [Raw(value, b"c", 0, headers)])

    def runs_the_loop(self):
        loop, events = self.names["loop"], Events()
        object.__setattr__(loop.options, "observers", [events])
        group = loop.options.group
        with Running(loop, events) as running:
            wait_until(
                lambda: (
                    committed_offsets(self.kafka, group, self.topic)
                    == end_offsets(self.kafka, self.topic)
                ),
                PATIENCE,
                "all is settled",
            )
            running.stop()
        return events


@pytest.fixture
def reader(kafka):
    return Reader(kafka)


def test_the_context_tells_where_the_record_is_from(reader, capfd):
    reader.executes(CONTEXT)
    reader.produces("first", headers=(("traceparent", b"abc"),))

    reader.runs_the_loop()

    assert f"{reader.topic}[0]@0, attempt 1: b'abc'" in capfd.readouterr().out


def test_the_concurrent_loop_handles_everything(reader):
    reader.executes(CONCURRENT)
    reader.produces(*map(str, range(20)))

    assert reader.runs_the_loop().outcomes() == {Outcome.PROCESSED: 20}


def test_the_batch_handler_gets_lists(reader, capfd):
    reader.executes(CONTEXT)
    reader.executes(BATCH)
    reader.produces(*map(str, range(20)))

    reader.runs_the_loop()

    rows = re.findall(r"INSERT (\d+) rows", capfd.readouterr().out)
    assert sum(map(int, rows)) == 20
    assert len(rows) < 20


def test_the_failing_batch_names_its_record(reader, capfd):
    reader.executes(CONTEXT)
    reader.executes(FAILING_BATCH)
    failures = []

    def broken(text):
        if "shipping 2" in text and not failures:
            failures.append(text)
            raise OSError("no truck")
        sys.stdout.write(f"{text}\n")

    reader.names["print"] = broken
    reader.produces("0", "1", "2", "3")

    assert reader.runs_the_loop().outcomes() == {Outcome.PROCESSED: 4}

    shipped = re.findall(r"shipping (\d)", capfd.readouterr().out)
    assert shipped == ["0", "1", "2", "3"]


def test_a_tombstone_reaches_its_handler(reader, capfd):
    reader.executes(CONTEXT)
    reader.executes(TOMBSTONE)
    produce(reader.kafka, reader.topic, [Raw(None, b"c42", 0)])

    reader.runs_the_loop()

    assert "customer b'c42' is gone" in capfd.readouterr().out


def test_the_filter_keeps_what_is_not_ours_away(reader):
    reader.executes(CONTEXT)
    reader.executes(FILTER)
    reader.produces("ours")
    reader.produces("ours too", headers=(("region", b"eu"),))
    reader.produces("theirs", headers=(("region", b"us"),))

    outcomes = reader.runs_the_loop().outcomes()

    assert outcomes == {Outcome.PROCESSED: 2, Outcome.FILTERED: 1}


def test_a_new_group_begins_where_it_is_told(reader):
    reader.executes(CONTEXT)
    reader.executes(START)
    reader.produces("after the date")

    assert reader.runs_the_loop().outcomes() == {Outcome.PROCESSED: 1}
