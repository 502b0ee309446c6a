"""A trace goes from one process through Kafka into another one's loop, and on from there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import trace

from flowodm import connect, replay_dead_letters
from flowodm.tracing import Tracing
from support.brokers.records import committed_offsets, end_offsets, read_all
from support.loops import BOTH, KINDS, PATIENCE, Bench
from support.tracers import BrokenProvider, Spans
from support.waiting import wait_until

TESTS = Path(__file__).parents[1]
#: The other process: sends so many messages within one span, and prints the trace's id.
SENDER = """
import sys
from support.loops import numbers_model
from support.tracers import Spans
from flowodm import connect
from flowodm.tracing import Tracing

kafka, topic, group, count = sys.argv[1:]
spans = Spans()
connect(kafka, tracing=Tracing(spans.provider))
model = numbers_model(topic, group)
with spans.tracer.start_as_current_span("request") as request:
    model.produce_many(model(n=number) for number in range(int(count)))
print(f"{request.get_span_context().trace_id:x}", *(s.context.span_id for s in spans.named("send")))
"""


class Other:
    """The traced program that sends messages, in a process of its own."""

    def __init__(self, kafka, topic, group, count):
        arguments = [sys.executable, "-c", SENDER, kafka, topic, group, str(count)]
        done = subprocess.run(
            arguments, cwd=TESTS, capture_output=True, text=True, check=True, timeout=60
        )
        trace_id, *spans = done.stdout.split()
        self.trace_id = int(trace_id, 16)
        self.spans = {int(span) for span in spans}


@pytest.fixture
def spans(kafka):
    spans = Spans()
    connect(bootstrap_servers=kafka, tracing=Tracing(spans.provider))
    return spans


@pytest.fixture
def bench(kafka, new_topic, group):
    return Bench(kafka, new_topic(1), group)


def until_committed(bench, count):
    wait_until(lambda: bench.committed() == {0: count}, PATIENCE, f"{count} are committed")


def current():
    return trace.get_current_span().get_span_context()


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_goes_on_in_another_process(bench, spans, kind):
    seen = {}
    other = Other(bench.kafka, bench.topic, bench.group, 20)
    options = {"ordering": "unordered"}
    with bench.run(kind, lambda one: seen.update({one.n: current()}), **options) as running:
        until_committed(bench, 20)
        running.stop()

    handled = spans.named("process")
    assert {span.context.trace_id for span in handled} == {other.trace_id}
    assert {span.parent.span_id for span in handled} == other.spans
    assert len(handled) == len(other.spans) == 20
    offsets = {span.attributes["messaging.kafka.offset"]: span.context for span in handled}
    assert {n: context.span_id for n, context in seen.items()} == {
        offset: context.span_id for offset, context in offsets.items()
    }


@pytest.mark.parametrize("kind", BOTH)
def test_a_batch_is_linked_to_the_other_process(bench, spans, kind):
    other = Other(bench.kafka, bench.topic, bench.group, 6)
    with bench.run(kind, lambda _: None, batch_size=6, batch_timeout=5.0) as running:
        until_committed(bench, 6)
        running.stop()

    handled = spans.named("process")
    assert {link.context.trace_id for span in handled for link in span.links} == {other.trace_id}
    assert {link.context.span_id for span in handled for link in span.links} == other.spans


@pytest.mark.parametrize("kind", BOTH)
def test_retries_a_dead_letter_its_replay_and_what_a_handler_sends_are_one_trace(
    bench, new_topic, spans, kind
):
    dead, onward = new_topic(1), new_topic(1)
    other = Other(bench.kafka, bench.topic, bench.group, 1)
    attempts = []

    def handle(message):
        attempts.append(message.n)
        if len(attempts) <= 2:
            raise ValueError("no stock")
        producer = type(message).get_producer()
        producer.produce(onward, b"reserved")
        producer.flush(PATIENCE)

    options = {"max_retries": 1, "retry_delay": 0.05, "dead_letter_topic": dead}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: end_offsets(bench.kafka, dead) == {0: 1}, PATIENCE, "a dead letter")
        assert replay_dead_letters(dead).count == 1
        until_committed(bench, 2)
        running.stop()

    told = spans.told("process", "attempt", "outcome", "offset")
    assert told == [(1, "retry", 0), (2, "dead_lettered", 0), (1, "processed", 1)]
    every = [*spans.named("process"), *spans.named("send")]
    assert {span.context.trace_id for span in every} == {other.trace_id}
    assert f"send {onward}" in {span.name for span in every}
    by_id = {span.context.span_id: span for span in every}
    replayed = by_id[spans.named("process")[2].parent.span_id]
    letter = by_id[replayed.parent.span_id]
    assert (replayed.name, letter.name) == (f"send {bench.topic}", f"send {dead}")
    assert by_id[letter.parent.span_id].attributes["flowodm.outcome"] == "dead_lettered"


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_where_the_tracer_is_broken(bench, new_topic, kind, at_once):
    dead, count, handled = new_topic(1), 300, []
    tracing = Tracing(BrokenProvider(at_once=at_once))
    connect(bootstrap_servers=bench.kafka, tracing=tracing)
    bench.model.produce_many(bench.model(n=number) for number in range(count))

    def handle(message):
        if message.n % 10 == 9:
            raise ValueError
        handled.append(message.n)

    options = {"dead_letter_topic": dead, "ordering": "partition"}
    with bench.run(kind, handle, **options) as running:
        until_committed(bench, count)
        running.stop()

    assert handled == [number for number in range(count) if number % 10 != 9]
    assert len(read_all(bench.kafka, dead)) == count // 10
    assert committed_offsets(bench.kafka, bench.group, bench.topic) == {0: count}
