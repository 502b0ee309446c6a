"""docs/metrics.md: its programs run as written, its tables are complete."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from io import BytesIO
from pathlib import Path

import fastavro
import pytest
from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from flowodm.metrics import PrometheusObserver
from supervisor.fleet.fold import Fold
from supervisor.instrumentation.exposition import Exposition
from support.brokers.records import Raw, create_topic, end_offsets, produce
from support.waiting import wait_until

TEXT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(# (\w+\.py)\n.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
PROGRAMS = {name: source for source, name in PYTHON}
ROW = re.compile(r"^\| `(flowodm_\w+)` \| (\w+) \|", flags=re.MULTILINE)

TOPIC = "payments"
# Importing, joining and the heartbeats of a group on a busy machine.
PATIENCE = 40.0
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [{"name": "payment_id", "type": "string"}, {"name": "amount", "type": "double"}],
}


# ---- the tables --------------------------------------------------------------------------------


def exposed() -> dict[str, str]:
    """Every metric of the library and of the supervisor, to its type."""
    registry = CollectorRegistry()
    PrometheusObserver(registry, consumer="payments")
    families = [*registry.collect(), *Exposition(Fold(), list).collect()]
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in families
    }


def test_the_tables_have_every_metric_once_and_no_other():
    rows = ROW.findall(TEXT)

    assert dict(rows) == exposed()
    assert len(rows) == len(exposed())


def test_the_text_names_no_metric_that_does_not_exist():
    named = set(re.findall(r"\bflowodm_\w+", TEXT))

    assert named <= set(exposed())


def test_the_values_of_labels_that_the_tables_name_exist():
    registry = CollectorRegistry()
    PrometheusObserver(registry, consumer="payments")
    for family in registry.collect():
        own = [{*sample.labels} - {"consumer", "slot", "le"} for sample in family.samples]
        start = f"| `{family.name}"
        row = next(line for line in TEXT.splitlines() if line.startswith(start))
        for sample, names in zip(family.samples, own, strict=True):
            for name in names:
                assert f"`{name}`" in row
                assert f"`{sample.labels[name]}`" in row


# ---- the programs --------------------------------------------------------------------------------


def test_no_program_is_left_out():
    assert len(PROGRAMS) == TEXT.count("```python")
    assert set(PROGRAMS) == {"payments.py", "one_loop.py", "service.py", "watched.py"}


class Payments:
    """The topic that the programs read, and payments of which each is charged once."""

    def __init__(self, kafka: str) -> None:
        self.kafka = kafka
        with contextlib.suppress(KafkaException):  # it is there already
            create_topic(kafka, TOPIC, 2)
        self._before = sum(end_offsets(kafka, TOPIC).values())

    def produce(self, count: int) -> None:
        records = []
        for number in range(count):
            out = BytesIO()
            fastavro.schemaless_writer(
                out, PAYMENT, {"payment_id": f"p{self._before + number}", "amount": 2.5}
            )
            records.append(Raw(out.getvalue(), partition=number % 2))
        produce(self.kafka, TOPIC, records)


@pytest.fixture
def payments(kafka) -> Payments:
    return Payments(kafka)


@contextlib.contextmanager
def program(name: str, kafka: str, folder: Path):
    """A program of the text at work; yields it and a function that tells what it has printed."""
    for file, source in PROGRAMS.items():
        (folder / file).write_text(source, encoding="utf-8")
    output = folder / "output.txt"
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka, "PYTHONUNBUFFERED": "1"}
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, name], cwd=folder, env=environment, stdout=file, stderr=file
        ) as process,
    ):
        try:
            yield process, output.read_text
        finally:
            # TERM first: a killed member would keep its place in the group for five minutes.
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def ends_well(process: subprocess.Popen, said) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, said()


def free(port: int) -> None:
    """Skip, or fail in CI, where somebody else has a port that the text names."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = f"the example's own port is in use: {error}"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def scraped(port: int) -> float:
    """How many processed payments the program's /metrics tells."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "flowodm_messages_total" and sample.labels["outcome"] == "processed"
    )


@pytest.mark.parametrize(("name", "port"), [("one_loop.py", 9464), ("service.py", 9465)])
def test_a_program_exposes_what_its_loops_have_processed(name, port, payments, tmp_path):
    free(port)
    payments.produce(10)
    with program(name, payments.kafka, tmp_path) as (process, said):
        wait_until(
            lambda: process.poll() is not None or scraped(port) == 10,
            PATIENCE,
            "ten payments are scraped",
            despite=OSError,
        )
        ends_well(process, said)
        assert said().count("charged 2.50 for") == 10
        assert "Traceback" not in said()


def test_an_observer_of_ones_own_tells_what_was_given_up_and_why_the_loop_ended(payments, tmp_path):
    produce(payments.kafka, TOPIC, [Raw(b"\xff\xff\xff", partition=0)])
    payments.produce(2)
    with program("watched.py", payments.kafka, tmp_path) as (process, said):
        wait_until(
            lambda: process.poll() is not None or said().count("charged") == 2,
            PATIENCE,
            "the payments behind the bad one are charged",
        )
        ends_well(process, said)
        assert "got 2 partitions\n" in said()
        assert re.search(r"given up: payments\[0\] at \d+: ", said())
        assert "ended by a signal\n" in said()
