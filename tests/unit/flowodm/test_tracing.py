"""Tracing of sent records: spans, and the context in the headers."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import confluent_kafka
import pytest
from opentelemetry import baggage, context
from opentelemetry.trace import SpanKind, StatusCode

from flowodm import FlowBaseModel, ProducerError, connect, get_producer
from flowodm.connection import get_kafka_connection
from flowodm.connection.clients import Clients
from flowodm.tracing import SendSpans, Tracing
from support.tracers import HEADER, SENDER, TRACE, BrokenProvider, TracedMemory


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        key_field = "order_id"

    order_id: str


@pytest.fixture
def memory():
    with TracedMemory() as memory:
        yield memory


def headers_of(memory, topic="orders"):
    return [dict(record.headers() or ()) for record in memory.kafka.records(topic)]


def traceparent(span):
    flags = f"{span.context.trace_flags:02x}"
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{flags}".encode()


WAYS = {
    "produce": lambda order: order.produce(),
    "produce_nowait": lambda order: order.produce_nowait(),
    "produce_many": lambda order: Order.produce_many([order]),
    "aproduce": lambda order: asyncio.run(order.aproduce()),
    "aproduce_many": lambda order: asyncio.run(Order.aproduce_many([order])),
    "the producer": lambda order: get_producer().produce("orders", b"\x021", order.order_id),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_sending_makes_a_span_below_the_current_one_and_sends_its_context(memory, way):
    with memory.spans.tracer.start_as_current_span("request") as request:
        WAYS[way](Order(order_id="1"))
    get_producer().flush()

    (span,) = memory.spans.named("send")
    assert (span.name, span.kind) == ("send orders", SpanKind.PRODUCER)
    assert span.parent.span_id == request.get_span_context().span_id
    assert headers_of(memory) == [{"traceparent": traceparent(span)}]
    assert dict(span.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
    }


def test_baggage_travels_too(memory):
    token = context.attach(baggage.set_baggage("tenant", "7"))
    try:
        Order(order_id="1").produce()
    finally:
        context.detach(token)

    assert headers_of(memory)[0]["baggage"] == b"tenant=7"


def test_a_context_in_the_headers_is_passed_on_where_there_is_no_current_span(memory):
    Order(order_id="1").produce(headers=[HEADER, ("own", b"x")])

    (span,) = memory.spans.named("send")
    assert (span.context.trace_id, span.parent.span_id) == (TRACE, SENDER)
    (record,) = memory.kafka.records("orders")
    assert record.headers() == [("own", b"x"), ("traceparent", traceparent(span))]


def test_the_current_span_wins_over_a_context_in_the_headers(memory):
    with memory.spans.tracer.start_as_current_span("request"):
        Order(order_id="1").produce(headers=dict([HEADER]))

    (span,) = memory.spans.named("send")
    assert span.context.trace_id != TRACE
    assert headers_of(memory) == [{"traceparent": traceparent(span)}]


def test_what_the_broker_refuses_is_an_error(memory):
    memory.kafka.refuse("orders")
    with pytest.raises(ProducerError):
        Order(order_id="1").produce()

    (span,) = memory.spans.named("send")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "TOPIC_AUTHORIZATION_FAILED"


def test_a_callback_is_called_as_ever(memory):
    answers = []
    Order(order_id="1").produce(lambda error, message: answers.append((error, message.offset())))
    get_producer().produce("orders", b"", b"k", 0, lambda *answer: answers.append(len(answer)))
    get_producer().flush()

    assert answers == [(None, 0), 2]


def test_a_full_queue_makes_one_span_however_often_it_is_tried(memory):
    sends, refusals = SendSpans(Tracing(memory.spans.provider)), [BufferError(), BufferError()]

    def produce(topic, **record):
        if refusals:
            raise refusals.pop()
        record["on_delivery"](None, memory.kafka.log.produce(topic, _record())[1])

    for _ in range(2):
        with pytest.raises(BufferError):
            sends.send(produce, "orders", b"v")
    sends.send(produce, "orders", b"v")

    assert len(memory.spans.named("send")) == 1


def _record():
    from flowodm.testing import Record  # noqa: PLC0415 - beside its only use

    return Record(b"v")


def test_what_librdkafka_does_not_take_is_an_error(memory):
    def produce(topic, **record):
        raise ValueError("no such partition")

    with pytest.raises(ValueError, match="no such"):
        SendSpans(Tracing(memory.spans.provider)).send(produce, "orders", b"v")

    (span,) = memory.spans.named("send")
    assert span.status.description == "no such partition"


@pytest.mark.parametrize("record_keys", [False, True])
@pytest.mark.parametrize(("key", "shown"), [("ä", "ä"), (b"k", "k"), (b"\xff", None), (None, None)])
def test_keys_are_shown_only_to_who_asks_for_them(record_keys, key, shown):
    with TracedMemory(record_keys=record_keys) as memory:
        get_producer().produce("orders", b"v", key)
        get_producer().flush()

    (span,) = memory.spans.named("send")
    expected = shown if record_keys else None
    assert span.attributes.get("messaging.kafka.message.key") == expected


@pytest.mark.parametrize("at_once", [True, False])
def test_a_tracer_that_fails_loses_nothing(at_once, caplog):
    with TracedMemory(tracer_provider=BrokenProvider(at_once=at_once)) as memory:
        Order(order_id="1").produce()
        Order(order_id="2").produce(headers={"own": b"x"})

    assert [record.key() for record in memory.kafka.records("orders")] == [b"1", b"2"]
    assert headers_of(memory)[1]["own"] == b"x"
    assert [r.message for r in caplog.records] == ["tracing failed; the record goes on without it"]


def test_without_tracing_the_producer_is_confluents_own():
    clients = Clients()
    try:
        made = clients.make_producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
        assert type(made) is confluent_kafka.Producer
    finally:
        clients.close()


def test_saying_the_same_again_closes_no_client():
    with TracedMemory() as memory:
        before = get_producer()
        connect(tracing=Tracing(memory.spans.provider))
        assert get_producer() is before
        connect(tracing=Tracing(memory.spans.provider, record_keys=True))
        assert get_producer() is not before
    assert get_kafka_connection().tracing is None


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def test_nothing_loads_opentelemetry_by_itself():
    modules = "flowodm, flowodm.cli.app, flowodm.consumer, flowodm.testing, supervisor.worker.main"
    code = f"import sys, {modules}; print([m for m in sys.modules if 'opentelemetry' in m])"

    assert run_python(code) == "[]\n"


def test_without_the_extra_it_is_said_how_to_get_it():
    output = run_python("import sys; sys.modules['opentelemetry'] = None; import flowodm.tracing")

    assert output.endswith(
        "flowodm.exceptions.ConfigurationError: tracing needs OpenTelemetry's API: "
        'pip install "flowodm-supervisor[opentelemetry]"\n'
    )
