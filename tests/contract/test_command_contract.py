"""0.3.1's command: where it is, its five commands, their options and defaults."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import pytest
import typer.main

from flowodm.cli.app import app
from flowodm.schema.levels import Level

OPTIONS = {
    "validate": {"--models", "--registry", "--schemas-dir", "--strict"},
    "upload-schema": {"--avro", "--subject", "--compatibility"},
    "check-compatibility": {"--models", "--model", "--subject", "--level"},
    "list-subjects": set(),
    "get-schema": {"--subject", "--version", "--output"},
}
REQUIRED = {
    "validate": {"--models"},
    "upload-schema": {"--avro", "--subject"},
    "check-compatibility": set(),
    "list-subjects": set(),
    "get-schema": {"--subject"},
}


@pytest.fixture(scope="module")
def commands():
    return typer.main.get_command(app).commands


def options_of(command):
    return {name: option for option in command.params for name in option.opts}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_each_command_has_the_options_and_needs_no_more_of_them(commands, name):
    options = options_of(commands[name])
    assert options.keys() >= OPTIONS[name]
    assert {option for option, found in options.items() if found.required} == REQUIRED[name]


def test_the_defaults_are_the_latest_version_and_backward(commands):
    assert options_of(commands["get-schema"])["--version"].default == "latest"
    level = options_of(commands["check-compatibility"])["--level"]
    assert getattr(level.default, "value", level.default) == "BACKWARD"


def test_it_knows_the_levels():
    assert {level.value for level in Level} >= {"BACKWARD", "FORWARD", "FULL", "NONE"}


def test_main_is_importable_and_runs_by_module_too():
    assert callable(importlib.import_module("flowodm.cli").main)
    assert find_spec("flowodm.cli.__main__")
