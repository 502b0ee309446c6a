"""docs/consuming.md: its examples run in their order on a real Kafka, and do what the text says."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from flowodm.avro.codec import codec_for
from support.brokers.records import Raw, committed_offsets, create_topic, produce

TEXT = (Path(__file__).parents[2] / "docs" / "consuming.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
MODEL, ONE, BATCH, ITERATION, COROUTINES, POISON, AUDIT = BLOCKS


class Reader:
    """Types the examples into one program, with a topic and groups of its own."""

    def __init__(self, kafka):
        self.kafka = kafka
        self.topic = f"orders-{uuid.uuid4().hex[:8]}"
        self.group = f"export-of-{self.topic}"
        self.names = {"__name__": "examples"}
        create_topic(kafka, self.topic, 1)
        self.executes(MODEL)

    def executes(self, block):
        source = block.replace("localhost:9092", self.kafka).replace('"orders"', f'"{self.topic}"')
        source = source.replace("order-export", self.group)
        source = source.replace("order-audit", f"audit-of-{self.topic}")
        # The text says that the first call joins; here it may take as long as it wants.
        source = source.replace("timeout=10.0", "timeout=30.0").replace(
            "timeout=5.0", "timeout=2.0"
        )
        exec(compile(source, "consuming.md", "exec", dont_inherit=True), self.names)

    def produces(self, *ids):
        model = self.names["OrderEvent"]
        values = [codec_for(model).encode(model(order_id=name, amount=1.5)) for name in ids]
        produce(self.kafka, self.topic, [Raw(value, None, 0) for value in values])

    def committed(self):
        return committed_offsets(self.kafka, self.group, self.topic)


@pytest.fixture
def reader(kafka):
    return Reader(kafka)


def test_one_a_batch_and_an_iteration_take_what_is_there(reader, capsys):
    reader.produces(*"abcde")

    reader.executes(ONE)
    assert capsys.readouterr().out == "one: a\n"
    assert reader.committed() == {0: 1}

    reader.executes(BATCH)
    assert capsys.readouterr().out == "batch: 4 orders, 6.00 in total\n"
    assert reader.committed() == {0: 5}

    reader.produces("f", "g")
    reader.executes(ITERATION)
    assert capsys.readouterr().out == "iteration: f\niteration: g\n"
    assert reader.committed() == {0: 7}


def test_coroutines_take_the_same(reader, capsys):
    reader.produces(*"abc")
    reader.executes(COROUTINES)
    assert capsys.readouterr().out == "coroutine: a, 2, 0\n"
    assert reader.committed() == {0: 3}


def test_poison_is_raised_with_its_place(reader, capsys):
    reader.produces("a")
    produce(reader.kafka, reader.topic, [Raw(b"\xff\xff", None, 0)])
    reader.executes(ONE)
    reader.executes(POISON)
    assert capsys.readouterr().out == "one: a\npoison: partition 0, offset 1\n"


def test_another_group_begins_at_the_beginning(reader, capsys):
    reader.produces(*"abcdefghijk")
    reader.executes(AUDIT)
    assert capsys.readouterr().out == "audit: 10\n"
