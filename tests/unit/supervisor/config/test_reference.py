"""Config/reference.toml has every key, and is current."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

from supervisor import load_config
from supervisor.config.config import SupervisorTable
from supervisor.config.consumer import ConsumerTable
from supervisor.config.kafka import KafkaTable
from supervisor.config.reference import reference
from supervisor.config.restart import RestartTable

FILE = Path(__file__).parents[4] / "config" / "reference.toml"


def uncommented() -> dict:
    return tomllib.loads(re.sub(r"^# ", "", reference(), flags=re.MULTILINE))


def test_the_file_is_what_the_models_say_now():
    assert FILE.read_text(encoding="utf-8") == reference(), "run `make reference`"


def test_the_file_is_a_valid_configuration():
    assert list(load_config(FILE).consumers) == ["orders"]


def test_every_key_is_there_and_each_line_is_toml():
    tables = uncommented()
    consumer = tables["consumers"]["orders"]

    assert tables["supervisor"].keys() == SupervisorTable.model_fields.keys()
    assert tables["kafka"].keys() >= KafkaTable.model_fields.keys()
    assert consumer.keys() == ConsumerTable.model_fields.keys() - {"kafka"}
    assert consumer["restart"].keys() == RestartTable.model_fields.keys()


def test_every_key_says_what_it_means():
    lines = FILE.read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"(# )?\w+ = ", line):
            assert before.startswith("## "), line
