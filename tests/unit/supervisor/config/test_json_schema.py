"""What editors know of the configuration file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from supervisor.config.config import SupervisorConfig, SupervisorTable
from supervisor.config.consumer import ConsumerTable
from supervisor.config.defaults import DefaultsTable
from supervisor.config.json_schema import DIALECT, schema
from supervisor.config.kafka import KafkaTable
from supervisor.config.restart import RestartTable

ROOT = Path(__file__).parents[4]
MADE = schema()
VALIDATOR = Draft202012Validator(MADE)
TABLES = {
    "SupervisorTable": SupervisorTable,
    "KafkaTable": KafkaTable,
    "ConsumerTable": ConsumerTable,
    "DefaultsTable": DefaultsTable,
    "RestartTable": RestartTable,
}
CONSUMER = '[consumers.orders]\nmodel = "a:B"\nhandler = "a:b"\n'


def documents():
    """Every configuration of the tree: files, and blocks of the documentation."""
    for file in sorted([*ROOT.glob("config/*.toml"), *ROOT.glob("deploy/**/*.toml")]):
        yield pytest.param(file.read_text(), id=file.name)
    for file in sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")]):
        blocks = re.findall(r"^```toml\n(.*?)^```", file.read_text(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks):
            yield pytest.param(block, id=f"{file.name}-{number}")


def violations(value, validator=VALIDATOR):
    """Each with its path; a TOML time counts as its text, as in an editor."""
    as_json = json.loads(json.dumps(value, default=lambda moment: moment.isoformat()))
    errors = validator.iter_errors(as_json)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def wrong(text):
    return violations(tomllib.loads(text))


def unknown(path, key):
    return f"{path}: Additional properties are not allowed ('{key}' was unexpected)"


def unfit(path, value):
    return f"{path}: {value!r} is not valid under any of the given schemas"


def test_it_is_a_schema():
    Draft202012Validator.check_schema(MADE)


@pytest.mark.parametrize("text", list(documents()))
def test_every_configuration_of_the_tree_fits(text):
    whole = text if "[consumers." in text else text + CONSUMER
    assert wrong(whole) == []


def test_everything_that_the_file_may_say_fits():
    assert not wrong("""
[supervisor]
drain_timeout = "1m 30s"
kill_delay = 2.5
http = "127.0.0.1:${PORT:-9108}"
[kafka]
sasl_password_file = "/run/secrets/password"
security_protocol = "${PROTOCOL}"
[kafka.options]
"session.timeout.ms" = 6000
"enable.ssl.certificate.verification" = false
[defaults]
max_retries = 3
retry_delay = "250ms"
restart = { policy = "on_failure", limit = "${LIMIT:-5}" }
[consumers.orders]
model = "shop.orders:Order"
handler = "shop.orders:Handlers.process"
workers = "${WORKERS:-4}"
commit_ahead = 0
start_from = 2026-01-31T08:00:00+01:00
settings = "shop.settings:Patient"
[consumers.orders.kafka]
sasl_password_file = "other"
[consumers.mail]
model = "${MODEL}"
handler = "shop.orders:send"
partition_groups = [[0, "${SECOND}"], [2]]
start_from = { 0 = 100, 2 = 5 }
retry_on = ["TimeoutError"]
max_rss = "512MB"
""")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[supervisor]\nport = 1\n" + CONSUMER, unknown("supervisor", "port")),
        ("[kafka]\nsasl_username_file = 'x'\n" + CONSUMER, unknown("kafka", "sasl_username_file")),
        ("[defaults]\nmodel = 'a:b'\n" + CONSUMER, unknown("defaults", "model")),
        (CONSUMER + "wokers = 2", unknown("consumers.orders", "wokers")),
        (
            CONSUMER + "[consumers.orders.restart]\nmax = 2",
            unknown("consumers.orders.restart", "max"),
        ),
        (
            CONSUMER + "[consumers.orders.kafka]\nservers = 2",
            unknown("consumers.orders.kafka", "servers"),
        ),
        (CONSUMER + "[consumer.x]", unknown("", "consumer")),
        (CONSUMER + "[consumers.'a b']", "consumers: 'a b' does not match any of the regexes"),
        (CONSUMER + "workers = 0", unfit("consumers.orders.workers", 0)),
        (CONSUMER + "workers = true", unfit("consumers.orders.workers", True)),
        (CONSUMER + "workers = 'four'", unfit("consumers.orders.workers", "four")),
        (
            CONSUMER + "retry_delay = '3 parsecs'",
            unfit("consumers.orders.retry_delay", "3 parsecs"),
        ),
        (CONSUMER + "commit_interval = 0", unfit("consumers.orders.commit_interval", 0)),
        (CONSUMER + "ordering = 'size'", unfit("consumers.orders.ordering", "size")),
        (CONSUMER + "settings = 'hasty'", unfit("consumers.orders.settings", "hasty")),
        (
            "[consumers.orders]\nmodel = 'a.b'\nhandler = 'a:b'",
            unfit("consumers.orders.model", "a.b"),
        ),
        ("[consumers.orders]\nmodel = 'a:b'", "consumers.orders: 'handler' is a required property"),
        ("", ": 'consumers' is a required property"),
    ],
)
def test_what_the_file_may_not_say_does_not_fit(text, what):
    assert what in "\n".join(wrong(text))


@pytest.mark.parametrize("name", TABLES)
def test_every_key_is_there_with_its_meaning_and_examples_and_defaults_that_hold(name):
    described = MADE["$defs"][name]["properties"]
    model = TABLES[name]
    files = {key for key in described if key.endswith("_file")}
    assert described.keys() - files == model.model_fields.keys()
    for key, known in described.items():
        assert known["description"], key
        if key in files:
            continue
        given = [known["default"]] if "default" in known else []
        for value in [*given, *known.get("examples", [])]:
            assert violations(value, VALIDATOR.evolve(schema=known)) == [], key
            field = model.model_fields[key]
            TypeAdapter(field.rebuild_annotation()).validate_python(value)
            if value in given and field.default is not None:
                assert TypeAdapter(field.rebuild_annotation()).validate_python(value) == (
                    field.default
                ), key


def test_only_secrets_can_be_in_files():
    described = MADE["$defs"]["KafkaTable"]["properties"]
    assert sorted(key for key in described if key.endswith("_file")) == [
        "sasl_password_file",
        "schema_registry_api_secret_file",
        "schema_registry_basic_auth_user_info_file",
    ]


def test_the_command_prints_it():
    command = [sys.executable, "-m", "supervisor", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == MADE
    assert MADE["$schema"] == DIALECT


def test_what_two_keys_say_together_is_not_the_schemas_business():
    """A contradiction of two keys is for check to find."""
    text = CONSUMER + "workers = 1\npartition_groups = [[0]]\n"
    assert wrong(text) == []
    with pytest.raises(ValidationError, match="contradicts workers"):
        SupervisorConfig.model_validate(tomllib.loads(text))
