"""docs/configuration.md: its files are valid, and what it says of keys is so."""

from __future__ import annotations

import re
from pathlib import Path

from supervisor.config.defaults import OWN
from supervisor.config.toml import load_config

TEXT = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_file_is_valid_and_means_what_is_said(tmp_path):
    for name in ("kafka", "payments-kafka"):
        (tmp_path / name).write_text(f"hunter-{name}\n")
    configs = []
    for block in BLOCKS:
        (tmp_path / "fleet.toml").write_text(block.replace("/run/secrets/", ""))
        configs.append(load_config(tmp_path / "fleet.toml", {}))
    shared = configs[1]
    orders, payments = shared.consumers["orders"], shared.consumers["payments"]
    assert (orders.max_retries, payments.max_retries) == (3, 10)
    assert orders.retry_delay == payments.retry_delay == 0.5
    assert payments.restart.limit == 5
    assert shared.kafka_of("orders") == shared.kafka
    revealed = shared.kafka_of("payments").revealed()
    assert revealed["bootstrap_servers"] == "payments-kafka:9092"
    assert (revealed["sasl_username"], revealed["sasl_password"]) == (
        "shop",
        "hunter-payments-kafka",
    )
    assert revealed["options"] == {"ssl.ca.location": "/etc/shop/ca.pem"}


def test_the_keys_that_are_no_defaults_are_named():
    sentence = TEXT.partition("no two share:")[2].partition(". A")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == OWN
