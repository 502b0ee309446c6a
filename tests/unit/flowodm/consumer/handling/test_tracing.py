"""What a loop handles: a span around each attempt, in which the handler runs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging

import pytest
from opentelemetry import baggage, trace
from opentelemetry.trace import SpanKind, StatusCode

from flowodm import AsyncConsumerLoop, BatchError, ConsumerLoop, FlowBaseModel, RecordError
from flowodm.avro.codec import codec_for
from flowodm.consumer.handling.recovery import recover
from flowodm.consumer.loop.session import Session
from flowodm.consumer.stop import StopSwitch
from flowodm.events import Outcome
from flowodm.testing import InMemoryKafka, Record, run_loop, tombstone
from support.tracers import HEADER, SENDER, TRACE, BrokenProvider, TracedMemory

KINDS = {"sync": ConsumerLoop, "async": AsyncConsumerLoop}
kinds = pytest.mark.parametrize("kind", KINDS)


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shop"

    number: int


@pytest.fixture
def memory():
    with TracedMemory() as memory:
        yield memory


def sent(*numbers, headers=(HEADER,)):
    """As bytes: what run_loop writes itself would be traced as well."""
    encode = codec_for(Order).encode
    return [Record(encode(Order(number=number)), headers=headers) for number in numbers]


def run(kind, handler, records, *, memory=None, raises=None, **options):
    """The handler is a plain function; an async loop gets it as a coroutine function."""

    async def handle(message):
        await asyncio.sleep(0)
        result = handler(message)
        return await result if inspect.isawaitable(result) else result

    options = {"commit_strategy": "after_processing", "ordering": "partition", **options}
    loop = KINDS[kind](Order, handler if kind == "sync" else handle, **options)
    return run_loop(loop, records, raises=raises, kafka=memory and memory.kafka)


def current():
    return trace.get_current_span().get_span_context().span_id


@kinds
def test_a_handler_runs_in_a_span_below_the_senders(memory, kind):
    seen = []

    def handle(order):
        with memory.spans.tracer.start_as_current_span("query"):
            seen.append(baggage.get_baggage("tenant"))

    records = sent(1, headers=(HEADER, ("baggage", b"tenant=7")))
    run(kind, handle, records, memory=memory)

    (span,), (query,) = memory.spans.named("process"), memory.spans.named("query")
    assert (span.name, span.kind) == ("process orders", SpanKind.CONSUMER)
    assert (span.context.trace_id, span.parent.span_id) == (TRACE, SENDER)
    assert query.parent.span_id == span.context.span_id
    assert seen == ["7"]
    assert dict(span.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "shop",
        "messaging.kafka.offset": 0,
        "flowodm.attempt": 1,
        "flowodm.outcome": "processed",
    }


@kinds
def test_records_do_not_see_each_others_spans(memory, kind):
    seen = []
    run(kind, lambda order: seen.append(current()), sent(1, 2, 3), memory=memory)

    assert seen == [span.context.span_id for span in memory.spans.named("process")]
    assert current() == 0


def test_a_record_without_a_context_begins_a_trace_of_its_own(memory):
    with memory.spans.tracer.start_as_current_span("program"):
        run("sync", lambda _: None, sent(1, 2, headers=()), memory=memory)

    spans = memory.spans.named("process")
    assert [span.parent for span in spans] == [None, None]
    assert len({span.context.trace_id for span in spans}) == 2


@kinds
def test_each_attempt_has_a_span_and_the_failed_one_its_error(memory, kind):
    left = [ValueError("not yet")]

    def handle(order):
        if left:
            raise left.pop()

    run(kind, handle, sent(1), memory=memory, max_retries=1)

    told = memory.spans.told("process", "attempt", "outcome", "stage")
    assert told == [(1, "retry", "handler"), (2, "processed", None)]
    failed, succeeded = memory.spans.named("process")
    assert failed.attributes["error.type"] == "ValueError"
    assert failed.status.description == "ValueError: not yet"
    assert [event.name for event in failed.events] == ["exception"]
    assert succeeded.status.status_code is StatusCode.UNSET
    assert failed.parent.span_id == succeeded.parent.span_id == SENDER


@kinds
def test_a_dead_letter_is_sent_within_the_attempt_and_carries_its_context(memory, kind):
    def handle(order):
        raise ValueError

    run(kind, handle, sent(1), memory=memory, dead_letter_topic="dead")

    (span,), (send,) = memory.spans.named("process"), memory.spans.named("send dead")
    assert span.attributes["flowodm.outcome"] == "dead_lettered"
    assert send.parent.span_id == span.context.span_id
    (letter,) = memory.kafka.records("dead")
    parents = [value for name, value in letter.headers() if name == "traceparent"]
    assert [parent.split(b"-")[2].decode() for parent in parents] == [
        f"{send.context.span_id:016x}"
    ]
    assert b"-%032x-" % TRACE in parents[0]


@kinds
def test_the_error_handler_runs_in_the_attempts_span(memory, kind):
    seen = []

    def handle(order):
        raise ValueError

    def plain(error, raw, message):
        seen.append(current())

    async def awaited(error, raw, message):
        await asyncio.sleep(0)
        plain(error, raw, message)

    error_handler = plain if kind == "sync" else awaited
    run(kind, handle, sent(1), memory=memory, error_handler=error_handler)

    (span,) = memory.spans.named("process")
    assert seen == [span.context.span_id]
    assert span.attributes["flowodm.outcome"] == "error_handled"


@kinds
@pytest.mark.parametrize(("on_failure", "raises"), [("skip", None), ("stop", RecordError)])
def test_what_nobody_takes_is_skipped_or_stops_the_loop(memory, kind, on_failure, raises):
    def handle(order):
        raise ValueError

    run(kind, handle, sent(1), memory=memory, on_failure=on_failure, raises=raises)

    outcome = {"skip": "skipped", "stop": "stopped"}[on_failure]
    assert memory.spans.told("process", "outcome") == [(outcome,)]


@kinds
def test_a_record_that_cannot_be_read_has_a_span_as_well(memory, kind):
    records = [Record(b"\xff\xff", headers=[HEADER]), *sent(1)]
    run(kind, lambda _: None, records, memory=memory, on_failure="skip")

    told = memory.spans.told("process", "offset", "outcome", "stage")
    assert told == [(0, "skipped", "deserialize"), (1, "processed", None)]
    assert {span.parent.span_id for span in memory.spans.named("process")} == {SENDER}


@kinds
def test_only_tombstones_that_are_handled_have_spans(memory, kind):
    run(kind, lambda _: None, [tombstone(b"k")], memory=memory)
    assert memory.spans.named("process") == []

    run(kind, lambda _: None, [tombstone(b"k")], memory=memory, tombstone_handler=lambda _: None)
    assert memory.spans.told("process", "tombstone", "outcome") == [(True, "processed")]


@kinds
def test_a_batch_has_one_span_with_a_link_for_each_sender(memory, kind):
    records = [*sent(1, 2), *sent(3, headers=())]
    run(kind, lambda _: None, records, memory=memory, batch_size=10)

    (span,) = memory.spans.named("process")
    assert span.attributes["messaging.batch.message_count"] == 3
    assert span.parent is None
    assert [link.context.span_id for link in span.links] == [SENDER, SENDER]


@kinds
def test_a_batch_in_which_one_message_fails_is_an_error_and_the_rest_comes_again(memory, kind):
    def handle(orders):
        for place, order in enumerate(orders):
            if order.number == 2:
                raise BatchError(place) from ValueError("two")

    run(kind, handle, sent(1, 2, 3), memory=memory, batch_size=10, on_failure="skip")

    told = memory.spans.told("process", "message_count", "outcome")
    assert told == [(3, "skipped"), (1, "processed")]
    assert memory.spans.named("process")[0].attributes["error.type"] == "ValueError"


@kinds
def test_a_batch_that_fails_as_a_whole_names_its_error_once(memory, kind):
    def handle(orders):
        raise ValueError

    run(kind, handle, sent(1, 2), memory=memory, batch_size=10, dead_letter_topic="dead")

    (span,) = memory.spans.named("process")
    assert [event.name for event in span.events] == ["exception"]
    assert span.attributes["flowodm.outcome"] == "dead_lettered"
    assert len(memory.spans.named("send dead")) == 2


def test_an_attempt_that_runs_into_its_limit_is_a_timeout(memory):
    run(
        "async",
        lambda _: asyncio.sleep(60),
        sent(1),
        memory=memory,
        attempt_timeout=0.05,
        on_failure="skip",
    )

    (span,) = memory.spans.named("process")
    assert span.attributes["error.type"] == "TimeoutError"
    assert span.attributes["flowodm.outcome"] == "skipped"


def test_a_handler_that_cancels_itself_has_failed(memory):
    def handle(order):
        raise asyncio.CancelledError

    run("async", handle, sent(1), memory=memory, on_failure="skip")

    assert memory.spans.told("process", "outcome") == [("skipped",)]


def test_a_handler_that_is_cancelled_by_the_loops_end_is_unsettled(memory):
    loop = AsyncConsumerLoop(
        Order,
        lambda _: loop.stop(now=True) or asyncio.sleep(60),
        commit_strategy="after_processing",
    )
    with contextlib.suppress(AssertionError):  # it is not settled
        run_loop(loop, sent(1), kafka=memory.kafka)

    assert memory.spans.told("process", "outcome") == [("unsettled",)]
    assert memory.spans.named("process")[0].attributes["error.type"].endswith("CancelledError")


@kinds
@pytest.mark.parametrize("error", [SystemExit, MemoryError])
def test_what_ends_the_loop_leaves_its_record_unsettled(memory, kind, error):
    def handle(order):
        raise error

    run(kind, handle, sent(1), memory=memory, raises=error)

    assert memory.spans.told("process", "outcome") == [("unsettled",)]


def test_a_coroutine_that_nobody_awaits_is_one_failed_attempt(memory):
    def handle(order):
        async def work():
            """Nothing: it never begins."""

        return work()

    run("sync", handle, sent(1), memory=memory, on_failure="skip")

    assert memory.spans.told("process", "outcome") == [("skipped",)]


@kinds
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_tracer_that_fails_fails_no_record(kind, at_once, batch_size, caplog):
    left = [ValueError("not yet")]

    def handle(order):
        if left:
            raise left.pop()

    options = {"batch_size": batch_size, "max_retries": 1, "dead_letter_topic": "dead"}
    broken = {"tracer_provider": BrokenProvider(at_once=at_once)}
    with caplog.at_level(logging.ERROR), TracedMemory(**broken) as memory:
        records = [*sent(1, 2), Record(b"\xff\xff")]
        result = run(kind, handle, records, memory=memory, **options)

    assert result.outcomes == [Outcome.PROCESSED, Outcome.PROCESSED, Outcome.DEAD_LETTERED]
    assert "tracing failed; the record goes on without it" in caplog.text


def test_log_lines_about_a_failure_are_written_in_its_span(memory, caplog):
    seen = []

    def note(record):
        seen.append((record.getMessage()[:13], current()))
        return True

    def handle(order):
        raise ValueError

    with caplog.filtering(note):
        run("sync", handle, sent(1), memory=memory, on_failure="skip")

    (span,) = memory.spans.named("process")
    assert ("record failed", span.context.span_id) in seen


def test_without_tracing_a_loop_has_the_recipe_that_it_always_had():
    with InMemoryKafka():
        loop = ConsumerLoop(Order, print)
        recipe = Session(loop.options, StopSwitch(1.0)).recipe

    assert recipe.recover is recover
    assert recipe.call.__module__ == "flowodm.consumer.handling.calls"
