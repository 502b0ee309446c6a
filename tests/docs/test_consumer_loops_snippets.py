"""Every snippet of docs/consumer_loops.rst runs as written, on a real Kafka and registry.

The snippets say localhost:9092 and http://localhost:8081, topic "orders" and group
"order-processor"; so they run one at a time, and each begins at the end of what the last one left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import time
import urllib.request
import uuid
from io import BytesIO
from pathlib import Path

import fastavro
import pytest
from confluent_kafka import KafkaException, TopicPartition

from flowodm.testing import FaultProxy, RegistryProxy
from support.brokers.clients import consumer_of
from support.brokers.records import Raw, committed_offsets, create_topic, end_offsets, produce
from support.docs.code_blocks import code_blocks
from support.waiting import wait_until

RUNNER = Path(__file__).with_name("snippet_runner.py")
TEXT = Path(__file__).parents[2] / "docs" / "consumer_loops.rst"
BLOCKS = code_blocks(TEXT.read_text(encoding="utf-8"))
STOPPING = "Graceful Shutdown/2"
MICROSERVICE = "Complete Microservice Example/1"

TOPIC, GROUP = "orders", "order-processor"
PARTITIONS = 4
# Importing, joining and a retry's wait on a busy machine.
PATIENCE = 40.0
POISON = b"\xff\xff\xff"

ORDER = {
    "type": "record",
    "name": "OrderEvent",
    "fields": [{"name": "order_id", "type": "string"}, {"name": "amount", "type": "double"}],
}
TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}
FULL_ORDER = {
    "type": "record",
    "name": "OrderEvent",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "customer_id", "type": "string"},
        {"name": "total_price", "type": "double"},
        {"name": "created_at", "type": TIMESTAMP},
    ],
}


@dataclasses.dataclass(frozen=True)
class Scenario:
    """How one loop of one snippet is shown to work.

    ``says`` is what it prints for each order. A loop that the snippet only makes is the ``run``-th
    one there. ``first`` and ``last`` are what hooks print.
    """

    block: str
    says: str
    run: int | None = None
    count: int = 12
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()


RUNS = [
    Scenario("Basic Consumer Loop/1", "Processing order {}: $2.50"),
    Scenario("Basic Consumer Loop/2", "async processing of {}"),
    Scenario("Commit Strategies/1", "Processing order {}: $2.50", run=0),
    Scenario("Commit Strategies/1", "Processing order {}: $2.50", run=1),
    Scenario(
        "Lifecycle Hooks/1",
        "Processing order {}: $2.50",
        run=0,
        first=("Starting up...", "the database is open"),
        last=("Shutting down...", "the database is closed"),
    ),
    Scenario("Settings Profiles/1", "Processing order {}: $2.50", run=0),
    Scenario("Settings Profiles/1", "batch processing of {}", run=1),
    Scenario("Settings Profiles/1", "quick processing of {}", run=2),
    Scenario("Graceful Shutdown/1", "Processing order {}: $2.50"),
    Scenario("Concurrent Processing (Async)/1", "Processed {}", count=20),
    Scenario("Decorator Style/1", "Processing {}"),
    Scenario("Decorator Style/2", "handling of {}"),
]
# These hand failures to an error handler; retries come first where the number is above 1.
FAILURES = {"Error Handling/1": 1, "Retries/1": 4}


def test_no_snippet_is_left_out():
    shown = {scenario.block for scenario in RUNS} | set(FAILURES) | {STOPPING, MICROSERVICE}
    assert shown == set(BLOCKS)
    assert len(BLOCKS) == 13


@pytest.fixture(scope="module")
def ports(kafka, registry):
    """localhost:9092 leads to the session's Kafka, localhost:8081 to its registry."""
    with contextlib.ExitStack() as stack:
        try:
            broker = stack.enter_context(FaultProxy(kafka, port=9092))
            names = stack.enter_context(RegistryProxy(registry, port=8081))
        except OSError as error:
            reason = f"the snippets' own port is in use: {error}"
            if os.environ.get("CI", "").lower() in {"1", "true"}:
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        yield broker, names


@pytest.fixture
def orders(kafka, ports):
    """The topic, read to its end by a group without members."""
    with contextlib.suppress(KafkaException):  # it is there already
        create_topic(kafka, TOPIC, PARTITIONS)

    def commit_the_end():
        ends = [TopicPartition(TOPIC, *place) for place in end_offsets(kafka, TOPIC).items()]
        with consumer_of(kafka, GROUP) as consumer:
            return consumer.commit(offsets=ends, asynchronous=False)

    wait_until(commit_the_end, PATIENCE, f"{GROUP} has no members", despite=KafkaException)
    return kafka


class Orders:
    """Orders with ids of their own, evenly on all partitions."""

    def __init__(self, count):
        self.ids = [f"{uuid.uuid4().hex[:8]}-{number}" for number in range(count)]

    def produce(self, kafka):
        records = [{"order_id": name, "amount": 2.5} for name in self.ids]
        produce(kafka, TOPIC, on_all_partitions(encoded(ORDER, record) for record in records))

    def produce_framed(self, kafka, registry):
        schema_id = register(registry, f"{TOPIC}-value", FULL_ORDER)
        head = struct.pack(">bI", 0, schema_id)
        rest = {"customer_id": "c1", "total_price": 2.5, "created_at": 1_700_000_000_000_001}
        values = [head + encoded(FULL_ORDER, {"order_id": name, **rest}) for name in self.ids]
        produce(kafka, TOPIC, on_all_partitions(values))


def on_all_partitions(values):
    return [Raw(value, partition=index % PARTITIONS) for index, value in enumerate(values)]


def encoded(schema, record):
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def register(registry, subject, schema):
    body = json.dumps({"schema": json.dumps(schema)}).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    url = f"{registry}/subjects/{subject}/versions"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
        return json.load(answer)["id"]


def arguments(name, run=None, broken=""):
    """The runner's command line for one snippet."""
    block = BLOCKS[name]
    task = {
        "earlier": [other.source for other in BLOCKS.values() if other.line < block.line],
        "source": block.source,
        "stop": BLOCKS[STOPPING].source,
        "run": run,
        "broken": broken,
    }
    return [str(RUNNER), json.dumps(task)]


class Child:
    """A snippet at work. What it prints is in ``text``; it is gone when the context closes."""

    def __init__(self, arguments, folder):
        self._output = folder / "output.txt"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # TERM first: a killed member would keep its place in the group for five minutes.
        for how in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
        self._process.communicate()

    @property
    def text(self):
        return self._output.read_text()

    def until_it_says(self, *parts):
        def missing_none():
            missing = [part for part in parts if part not in self.text]
            status = self._process.poll()
            assert status is None or not missing, f"ended: {status}, without {missing}: {self.text}"
            return not missing

        try:
            wait_until(missing_none, PATIENCE, f"the snippet says {parts}")
        except AssertionError as error:
            raise AssertionError(f"{error}\nIt said:\n{self.text}") from None

    def signal(self, number):
        self._process.send_signal(number)

    def stop_by_the_snippet(self):
        """Let `loop.stop()` run in another thread."""
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def ends_well(self):
        self._process.wait(PATIENCE)
        assert self._process.returncode == 0, self.text
        assert "Traceback" not in self.text, self.text


def everything_is_committed(kafka):
    assert committed_offsets(kafka, GROUP, TOPIC) == end_offsets(kafka, TOPIC)


def stop(child, how):
    if how == "loop.stop()":
        child.stop_by_the_snippet()
    else:
        child.signal(how)


def cases():
    """Every loop ends by SIGTERM; those of one snippet also by SIGINT and by `loop.stop()`."""
    for scenario in RUNS:
        name = scenario.block if scenario.run is None else f"{scenario.block} loop {scenario.run}"
        both = ["loop.stop()", signal.SIGINT] if scenario.block == "Graceful Shutdown/1" else []
        # What is only made here is stopped as the text says: in another thread.
        for how in [signal.SIGTERM if scenario.run is None else "loop.stop()", *both]:
            yield pytest.param(scenario, how, id=f"{name} ended by {getattr(how, 'name', how)}")


@pytest.mark.parametrize(("scenario", "how"), list(cases()))
def test_a_loop_processes_each_order_once_and_commits(scenario, how, orders, tmp_path):
    batch = Orders(scenario.count)
    batch.produce(orders)
    with Child(arguments(scenario.block, scenario.run), tmp_path) as child:
        child.until_it_says(*scenario.first, *map(scenario.says.format, batch.ids))
        stop(child, how)
        child.ends_well()

        for name in batch.ids:
            assert child.text.count(f"{scenario.says.format(name)}\n") == 1
        for line in (*scenario.last, "the snippet is done"):
            assert child.text.count(line) == 1
    everything_is_committed(orders)


def test_twenty_orders_that_take_a_second_each_are_processed_at_the_same_time(orders, tmp_path):
    batch = Orders(20)
    batch.produce(orders)
    with Child(arguments("Concurrent Processing (Async)/1"), tmp_path) as child:
        wait_until(lambda: "Processed" in child.text, PATIENCE, "the first one is processed")
        begun = time.monotonic()
        child.until_it_says(*batch.ids)
        assert time.monotonic() - begun < 10
        child.signal(signal.SIGTERM)
        child.ends_well()
    everything_is_committed(orders)


@pytest.mark.parametrize("block", list(FAILURES))
def test_an_error_handler_gets_the_order_that_failed_or_none_for_poison(block, orders, tmp_path):
    batch = Orders(8)
    broken, *good = batch.ids
    batch.produce(orders)
    produce(orders, TOPIC, [Raw(POISON, partition=0)])
    with Child(arguments(block, run=0, broken=broken), tmp_path) as child:
        child.until_it_says(
            f"Failed to process order {broken}: out of stock",
            "Failed to deserialize message:",
            *(f"Processing order {name}: $2.50" for name in good),
        )
        child.stop_by_the_snippet()
        child.ends_well()

        assert child.text.count(f"attempt at {broken}") == FAILURES[block]
        assert child.text.count("Failed to") == 2
    everything_is_committed(orders)


def test_the_complete_example_is_a_script_that_reads_through_the_registry(
    orders, registry, ports, tmp_path
):
    script = tmp_path / "microservice.py"
    script.write_text(BLOCKS[MICROSERVICE].source)
    batch = Orders(12)
    batch.produce_framed(orders, registry)
    produce(orders, TOPIC, [Raw(POISON, partition=1)])
    asked_before = [port.accepted for port in ports]
    with Child([str(script)], tmp_path) as child:
        child.until_it_says(
            "=== Order Processor Starting ===",
            "Starting consumer loop...",
            "Failed to deserialize:",
            *(f"Processing order {name}\n" for name in batch.ids),
        )
        child.signal(signal.SIGTERM)
        child.ends_well()

        assert child.text.count("Processing order ") == 12
        assert child.text.count("=== Processed 12 orders ===") == 1
    everything_is_committed(orders)
    assert all(
        now > then for now, then in zip((p.accepted for p in ports), asked_before, strict=True)
    )
