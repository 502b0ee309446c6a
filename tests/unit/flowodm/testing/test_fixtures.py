"""flowodm.testing.fixtures in a user's conftest.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]

SUITE = """
import pytest
from flowodm import FlowBaseModel, get_kafka_connection


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shipping"

    number: int


def test_in_memory(in_memory_kafka):
    Order(number=1).produce()
    assert len(in_memory_kafka.records("orders")) == 1


def test_each_test_has_an_empty_one(in_memory_kafka):
    assert in_memory_kafka.records("orders") == []


def test_embedded(embedded_kafka):
    Order(number=1).produce(timeout=30)
    assert embedded_kafka.startswith("127.0.0.1:")


def test_the_broker_is_the_same_one(embedded_kafka, embedded_broker):
    assert embedded_kafka == embedded_broker.bootstrap_servers
    topics = get_kafka_connection().producer.list_topics(timeout=30).topics
    assert "orders" in topics
"""


def test_a_conftest_that_names_the_module_has_the_fixtures(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["flowodm.testing.fixtures"]\n')
    (tmp_path / "test_shop.py").write_text(SUITE)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_flowodm_testing_does_not_import_pytest():
    code = (
        "import sys, flowodm.testing as t; [getattr(t, n) for n in t.__all__]; "
        "sys.exit('pytest' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
