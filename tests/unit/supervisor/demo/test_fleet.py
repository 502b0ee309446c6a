from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from supervisor import load_config
from supervisor.demo.fleet import CONFIG
from supervisor.demo.producer import order_of
from supervisor.demo.shop import Order, pack, send_mail

IN_THE_REPOSITORY = Path(__file__).parents[4] / "config" / "demo.toml"


def test_the_repository_shows_the_file_that_the_package_runs():
    assert IN_THE_REPOSITORY.read_bytes() == CONFIG.read_bytes()


def test_two_consumers_have_four_workers_and_lose_nothing(monkeypatch):
    monkeypatch.setenv("FLOWODM_DEMO_PORT", "9999")
    config = load_config(CONFIG)
    assert config.supervisor.http_address == ("127.0.0.1", 9999)
    assert sum(len(consumer.slots()) for consumer in config.consumers.values()) == 4
    strategies = {consumer.commit_strategy for consumer in config.consumers.values()}
    assert strategies == {"after_processing"}
    assert config.consumers["packing"].slots() == ((0, 1), (2, 3))


@pytest.mark.parametrize("number", range(12))
def test_an_order_has_its_number_a_customer_and_a_few_items(number):
    order = order_of(number, datetime(2026, 1, 2, tzinfo=UTC))
    assert order.number == number
    assert order.customer.startswith("customer-")
    assert 1 <= len(order.items) <= 3


@pytest.fixture(autouse=True)
def _open_files(monkeypatch):
    files = {}
    monkeypatch.setattr("supervisor.demo.shop._files", files)
    yield
    for file in files.values():
        os.close(file)


async def test_handlers_note_what_they_have_handled_in_a_file_for_each_consumer(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("FLOWODM_DEMO_LEDGERS", str(tmp_path))
    for number in (3, 4, 3):
        pack(order_of(number, datetime(2026, 1, 2, tzinfo=UTC)))
    await send_mail(order_of(5, datetime(2026, 1, 2, tzinfo=UTC)))
    written = {path.name.partition(".")[0]: path.read_text() for path in tmp_path.iterdir()}
    assert written == {"packing": "3\n4\n3\n", "mailing": "5\n"}


def test_outside_the_demo_handlers_note_nothing(monkeypatch, tmp_path):
    monkeypatch.delenv("FLOWODM_DEMO_LEDGERS", raising=False)
    monkeypatch.chdir(tmp_path)
    pack(order_of(1, datetime(2026, 1, 2, tzinfo=UTC)))
    assert list(tmp_path.iterdir()) == []


def test_orders_of_a_customer_keep_their_order():
    assert Order.Settings.key_field == "customer"
