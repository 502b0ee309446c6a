"""config/: what is there to be copied is valid, and shows what its name promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import load_config

FOLDER = Path(__file__).parents[2] / "config"
FILES = sorted([FOLDER / "minimal.toml", *FOLDER.glob("examples/*.toml")])
SHOWS = {
    "minimal": {"model", "handler"},
    "at_least_once": {"commit_strategy", "dead_letter_topic", "dead_letter_limit", "max_retries"},
    "inference": {"settings", "handler_timeout", "max_rss", "on_startup"},
    "real_time": {"settings", "commit_strategy", "commit_ahead"},
    "batches": {"batch_size", "batch_timeout"},
    "pinned": {"partition_groups", "group_id"},
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_valid_and_sets_what_it_is_about(file):
    config = load_config(file)

    (consumer,) = config.consumers.values()
    assert consumer.model_fields_set >= SHOWS[file.stem]


def test_no_example_is_missing():
    assert {file.stem for file in FILES} == set(SHOWS)


def test_inference_stops_a_hung_handler_before_kafka_does():
    (consumer,) = load_config(FOLDER / "examples" / "inference.toml").consumers.values()

    assert 0 < consumer.handler_timeout < 600
