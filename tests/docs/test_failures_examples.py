"""docs/failures.md: its examples run in their order on a real Kafka, and do what the text says."""

from __future__ import annotations

import dataclasses
import re
import uuid
from pathlib import Path

import pytest

from flowodm import RecordError
from flowodm.consumer.dead_letters import headers as letters
from flowodm.consumer.dead_letters import topic as dead_letter
from flowodm.consumer.engine.settlement import WINDOW
from flowodm.consumer.options.options import Options
from flowodm.events import DeadLettered, Failed, Outcome, Stage
from support.brokers.records import (
    Raw,
    committed_offsets,
    create_topic,
    end_offsets,
    produce,
    read_all,
)
from support.loops import PATIENCE, POISON, Events, Running, number
from support.waiting import wait_until

TEXT = (Path(__file__).parents[2] / "docs" / "failures.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
MODEL, RETRIES, DEAD_LETTERS, ERROR_HANDLER, LOOK, REPLAY, SOME = BLOCKS


def invoice(n: int, address: str) -> Raw:
    """Bare Avro: a long and a string."""
    text = address.encode()
    return Raw(number(n) + number(len(text)) + text, b"customer", 0, (("trace", b"%d" % n),))


class Reader:
    """Executes the examples as a reader would who types them into one program.

    The topics and the group have names of their own for each test.
    """

    def __init__(self, kafka):
        self.kafka = kafka
        self.topic = f"invoices-{uuid.uuid4().hex[:8]}"
        self.dead = f"{self.topic}.DLT"
        self.group = f"mailer-of-{self.topic}"
        self.by_hand = f"{self.topic}-by-hand"
        self.names = {"__name__": "examples"}
        for name in (self.topic, self.dead, self.by_hand):
            create_topic(kafka, name, 1)

    def executes(self, *blocks):
        for block in blocks:
            source = block.replace("localhost:9092", self.kafka).replace("invoices", self.topic)
            source = source.replace("invoice-mailer", self.group)
            exec(compile(source, "failures.md", "exec", dont_inherit=True), self.names)

    def produce(self, *records):
        produce(self.kafka, self.topic, records)

    def running(self):
        """The loop that was made last."""
        events, loop = Events(), self.names["loop"]
        object.__setattr__(loop.options, "observers", [events])
        return Running(loop, events)

    def runs_it_until_settled(self):
        with self.running() as running:
            wait_until(
                lambda: (
                    committed_offsets(self.kafka, self.group, self.topic)
                    == end_offsets(self.kafka, self.topic)
                ),
                PATIENCE,
                "all is settled",
            )
            running.stop()
        return running.events


@pytest.fixture
def reader(kafka):
    return Reader(kafka)


def test_the_examples_do_what_the_text_says(reader, capsys):
    kafka, dead = reader.kafka, reader.dead
    reader.executes(MODEL)

    # Retries: MailboxUnknown has none, and on_failure="skip" goes on.
    reader.executes(RETRIES)
    reader.produce(invoice(1, "nowhere"), invoice(2, "a@example.org"))
    events = reader.runs_it_until_settled()
    assert [event.consequence for event in events.of(Failed)] == ["skip"]
    assert events.outcomes() == {Outcome.SKIPPED: 1, Outcome.PROCESSED: 1}

    # Dead letters, with and without an error handler.
    reader.executes(DEAD_LETTERS)
    reader.produce(invoice(3, "nowhere"), Raw(POISON, None, 0), invoice(4, "b@example.org"))
    events = reader.runs_it_until_settled()
    assert [event.dead_letter_topic for event in events.of(DeadLettered)] == [dead, dead]
    reader.executes(ERROR_HANDLER)
    reader.produce(invoice(5, "nowhere"))
    reader.runs_it_until_settled()
    assert "offset 5 is in the dead letters: MailboxUnknown('nowhere')" in capsys.readouterr().out

    headers = dict(read_all(kafka, dead)[0].headers())
    rows = re.findall(r"^\| `(kafka_dlt-\S+)` \|", TEXT, flags=re.MULTILINE)
    assert {"trace", *rows} - {letters.CAUSE} == set(headers)

    # Looking at them, and putting them back.
    reader.executes(LOOK)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3
    assert f"{reader.topic}[0]@2 examples.MailboxUnknown: nowhere" in shown[0]
    reader.executes(REPLAY)
    assert capsys.readouterr().out == "3 put back, 0 left, all looked at: True\n"
    reader.executes(REPLAY)
    assert capsys.readouterr().out == "0 put back, 0 left, all looked at: True\n"
    assert end_offsets(kafka, reader.topic) == {0: 9}
    reader.executes(SOME)
    assert end_offsets(kafka, reader.by_hand) == {0: 3}


def test_a_dead_letter_topic_that_is_not_there_is_said_at_the_start(reader):
    """It has to exist before the loop starts."""
    reader.executes(MODEL, RETRIES, DEAD_LETTERS.replace("invoices.DLT", "missing.DLT"))

    with reader.running() as running, pytest.raises(Exception, match=r"missing\.DLT"):
        running.end()


def test_more_dead_letters_than_the_limit_end_the_loop_with_the_words_of_the_text(reader):
    reader.executes(MODEL, RETRIES, DEAD_LETTERS)
    reader.produce(*(invoice(n, "nowhere") for n in range(80)))

    with reader.running() as running, pytest.raises(RecordError) as caught:
        running.end()

    (note,) = caught.value.__cause__.__notes__
    assert note in TEXT.replace("\n", " ")
    assert end_offsets(reader.kafka, reader.dead) == {0: 50}


def test_the_numbers_and_names_of_the_text_are_those_of_the_code():
    words = TEXT.replace("\n", " ")
    assert f"cut to {letters.MESSAGE_BYTES:,} bytes" in words
    assert f"the last {letters.STACK_TRACE_BYTES:,} bytes" in words
    assert f"within {dead_letter.SEND_TIMEOUT:g} s" in words
    assert f"of any {WINDOW} records" in words
    assert f"`{letters.REPLAYS}`" in words
    defaults = {field.name: field.default for field in dataclasses.fields(Options)}
    assert f"`dead_letter_limit={defaults['dead_letter_limit']}`" in words
    stages = set(re.findall(r'`stage="(\w+)"`', TEXT))
    assert stages == {stage.value for stage in Stage} - {"error_handler", "dead_letter"}
    assert len(BLOCKS) == TEXT.count("```python")
