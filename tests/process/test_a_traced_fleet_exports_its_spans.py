"""A consumer with ``tracing``: its workers set OpenTelemetry's SDK up, and leave no span behind."""

from __future__ import annotations

import json
import os
import time

import pytest
import shop
from shop_of_traces import NEVER, install_exporter

from flowodm.avro.codec import codec_for
from support.brokers.records import Raw, produce
from support.fleets.real_fleets import RealFleet

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENDER = "00f067aa0ba902b7"
HEADERS = (("traceparent", f"00-{TRACE}-{SENDER}-01".encode()),)
ORDERS = 5


@pytest.fixture
def orders(kafka, new_topic):
    """A topic with orders that a traced program has sent."""
    topic, codec = new_topic(partitions=2), codec_for(shop.Order)
    values = [
        codec.encode(shop.Order(order_id=number, customer=f"c{number}", amount=1.0))
        for number in range(ORDERS)
    ]
    produce(kafka, topic, [Raw(v, b"k%d" % n, n % 2, HEADERS) for n, v in enumerate(values)])
    return topic


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", str(NEVER))


def consumers(tracing):
    return f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop_of_traces:handle"
        workers = 2
        commit_strategy = "after_processing"
        start_from = "earliest"
        tracing = {json.dumps(tracing)}
    """


def spans_of(fleet):
    return [json.loads(line) for line in fleet.traces_of("span").elements()]


def handled_by(fleet):
    """Run until all orders are handled; nothing is exported before the end."""
    fleet.until_handled(ORDERS)
    assert spans_of(fleet) == []
    assert fleet.stop() == 0, fleet.text()
    return spans_of(fleet)


def assert_complete(spans, topic):
    assert {span["name"] for span in spans} == {f"process {topic}"}
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{TRACE}"}
    assert {span["parent_id"] for span in spans} == {f"0x{SENDER}"}
    attributes = [span["attributes"] for span in spans]
    partition, offset = "messaging.destination.partition.id", "messaging.kafka.offset"
    places = {(one[partition], one[offset]) for one in attributes}
    assert places == {("0", 0), ("0", 1), ("0", 2), ("1", 0), ("1", 1)}


def test_the_variables_of_opentelemetry_say_where_spans_go(kafka, orders, tmp_path, monkeypatch):
    install_exporter(tmp_path)
    for signal, exporter in (("TRACES", "file"), ("METRICS", "none"), ("LOGS", "none")):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", exporter)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")

    with RealFleet(tmp_path, kafka, orders, consumers(tracing=True)) as fleet:
        spans = handled_by(fleet)

        assert_complete(spans, orders)
        assert {span["resource"]["attributes"]["service.name"] for span in spans} == {"shop"}
        assert not any("messaging.kafka.message.key" in span["attributes"] for span in spans)


def test_a_module_may_set_the_sdk_up_and_log_lines_name_their_span(kafka, orders, tmp_path):
    consumer = consumers("shop_of_traces:tracing")
    with RealFleet(tmp_path, kafka, orders, consumer) as fleet:
        spans = handled_by(fleet)

        assert_complete(spans, orders)
        keys = {span["attributes"]["messaging.kafka.message.key"] for span in spans}
        assert keys == {f"k{number}" for number in range(ORDERS)}
        made = {span["context"]["span_id"].removeprefix("0x") for span in spans}
        assert set(fleet.traces_of("current")) == made
        lines = [line for line in fleet.log() if line["logger"] == "shop"]
        assert {line["span_id"] for line in lines} == made
        assert {line["trace_id"] for line in lines} == {TRACE}


def test_an_exporter_that_hangs_does_not_hold_up_the_end(kafka, orders, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_EXPORTER", "hangs")
    consumer = consumers("shop_of_traces:tracing")
    with RealFleet(tmp_path, kafka, orders, consumer, drain_timeout="10s") as fleet:
        fleet.until_handled(ORDERS)
        begun = time.monotonic()

        assert fleet.stop() == 0, fleet.text()

        assert time.monotonic() - begun < 10
        assert "the last spans were not exported within 3 s" in fleet.text()


def test_without_an_sdk_the_log_says_so_and_records_are_handled(kafka, orders, tmp_path):
    blocker = "import sys\nsys.modules['opentelemetry.instrumentation'] = None\n"
    (tmp_path / "without_distro.py").write_text(blocker)
    preload = ["without_distro"]
    with RealFleet(tmp_path, kafka, orders, consumers(tracing=True), preload=preload) as fleet:
        fleet.until_handled(ORDERS)

        assert fleet.stop() == 0, fleet.text()

        assert "OpenTelemetry's SDK is not set up" in fleet.text()
