"""What [consumers.NAME] knows is what flowodm knows."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

import flowodm.settings
from flowodm.consumer.options.declaration import REQUIRED
from flowodm.consumer.options.loop_options import OPTIONS
from supervisor.config.consumer import (
    EXCEPTIONS,
    FUNCTIONS,
    NOT_THE_LOOPS,
    ConsumerTable,
    loop_default,
)
from supervisor.config.json_schema import schema
from supervisor.config.profiles import PROFILES
from supervisor.slot.hang import Limits
from supervisor.slot.recycling import Lifespan

MINIMAL = {"model": "shop:Order", "handler": "shop:handle"}
NO_KEYS = {
    "partitions": "from partition_groups and partitions_per_worker",
    "group_instance_id": "from membership",
    "consumer_config": "from [kafka.options]",
    "observers": "the supervisor's metrics are one; others are the program's",
    "handle_signals": "signals are the worker's",
}
"""The loops' arguments that cannot be written, and why."""
NO_ARGUMENTS = {"tracing": "from connect(tracing=...), which the worker calls"}
"""The keys that reach the loops by another way, and by which."""


KEYS = ConsumerTable.model_fields.keys() - NOT_THE_LOOPS - NO_ARGUMENTS.keys()
"""The keys that are arguments of the loops."""


def test_the_options_of_a_consumer_are_the_arguments_of_the_loops():
    assert OPTIONS.keys() >= NO_KEYS.keys()
    assert OPTIONS.keys() - NO_KEYS.keys() == KEYS


OTHER_DEFAULTS = {
    "settings": "a name for the class",
    "max_concurrent": "depends on the handler",
    "ordering": "depends on the handler",
    "on_failure": "depends on commit_strategy",
    "drain_timeout": "that of [supervisor]",
    "never_retry": "none",
}
"""The keys whose default is not declared as that of the loops' argument, and what it is."""


@pytest.mark.parametrize("key", sorted(KEYS - OTHER_DEFAULTS.keys()))
def test_a_keys_default_is_that_of_the_loops_argument(key):
    option = OPTIONS[key]
    assert option.async_default is None
    default = None if option.default is REQUIRED else option.default
    assert loop_default(key) == getattr(default, "value", default)


@pytest.mark.parametrize("key", sorted(OTHER_DEFAULTS.keys() - {"settings"}))
def test_another_default_is_in_the_meaning_and_not_declared(key):
    assert loop_default(key) is None


def test_the_default_profile_is_that_of_the_loops():
    assert OPTIONS["settings"].default_words == f"`{PROFILES[loop_default('settings')]}()`"


OTHER_MEANINGS = {
    "drain_timeout": "a worker is stopped, where a program calls stop()",
    "on_failure": "a worker ends, where run() raises",
    "start_from": "TOML has timestamps and tables, Python datetime and dict",
}
"""The keys that a file means in other words than a program, and why."""


@pytest.mark.parametrize("key", sorted(KEYS - OTHER_MEANINGS.keys()))
def test_a_keys_meaning_begins_with_that_of_the_loops_argument(key):
    meaning = ConsumerTable.model_fields[key].description
    assert meaning.startswith(OPTIONS[key].meaning)


def test_an_options_default_is_written_in_its_schema():
    table = schema()["$defs"]["ConsumerTable"]["properties"]
    assert table["retry_delay"]["default"] == "1s"
    assert table["dead_letter_limit"]["default"] == 0.5
    assert table["workers"]["default"] == 1


def test_a_key_that_is_not_written_has_the_loops_default():
    table = ConsumerTable.model_validate({**MINIMAL, "commit_interval": "5s"})
    assert (table.commit_ahead, table.effective("commit_ahead")) == (None, 0.1)
    assert table.effective("commit_interval") == 5


def test_the_keys_whose_values_a_worker_imports_are_those_that_hold_references():
    fields = ConsumerTable.model_fields.items()
    hints = {name: repr(field.rebuild_annotation()) for name, field in fields}
    assert {name for name, hint in hints.items() if "_reference" in hint} == {
        "model",
        "tracing",
        *FUNCTIONS,
    }
    assert {name for name, hint in hints.items() if "_exception" in hint} == set(EXCEPTIONS)


def test_every_profile_name_is_a_profile_of_flowodm():
    for name, profile in PROFILES.items():
        assert issubclass(getattr(flowodm.settings, profile), flowodm.settings.BaseSettings), name


def test_failures_batches_filters_and_the_start_can_be_written():
    written = """
        max_retries = 5
        retry_delay = "100ms"
        retry_backoff = 2
        retry_max_delay = "1m"
        retry_jitter = 0.2
        retry_on = ["TimeoutError", "shop:Unavailable"]
        never_retry = ["shop:Refused"]
        attempt_timeout = "2s"
        dead_letter_topic = "orders-dead"
        dead_letter_limit = 0.1
        batch_size = 100
        batch_timeout = "250ms"
        tombstone_handler = "shop:forget"
        header_filter = "shop:wanted"
        start_from = 2026-01-31T08:00:00+01:00
    """
    table = ConsumerTable.model_validate({**MINIMAL, **tomllib.loads(written)})
    assert table.start_from == datetime(2026, 1, 31, 7, tzinfo=UTC)
    assert table.loop_options() == {
        **MINIMAL,
        "max_retries": 5,
        "retry_delay": 0.1,
        "retry_backoff": 2.0,
        "retry_max_delay": 60.0,
        "retry_jitter": 0.2,
        "retry_on": ["TimeoutError", "shop:Unavailable"],
        "never_retry": ["shop:Refused"],
        "attempt_timeout": 2.0,
        "dead_letter_topic": "orders-dead",
        "dead_letter_limit": 0.1,
        "batch_size": 100,
        "batch_timeout": 0.25,
        "tombstone_handler": "shop:forget",
        "header_filter": "shop:wanted",
        "start_from": "2026-01-31T08:00:00+01:00",
    }


def problems(**written):
    """What is wrong with a consumer, by key."""
    with pytest.raises(ValidationError) as raised:
        ConsumerTable.model_validate({**MINIMAL, **written})
    return {
        ".".join(map(str, details["loc"])): f"{details['msg']}; {details['ctx']['hint']}"
        for details in raised.value.errors()
    }


@pytest.mark.parametrize(
    ("written", "key", "words"),
    [
        (
            {"ordering": "key", "batch_size": 10},
            "batch_size",
            'contradicts ordering = "key"; write ordering = "partition" or "unordered"',
        ),
        (
            {"max_retries": 1, "retry_delay": 2, "retry_backoff": 2, "retry_max_delay": 1},
            "retry_max_delay",
            "is shorter than retry_delay; write the longest delay here",
        ),
        (
            {"max_retries": 1, "retry_on": ["OSError", "a:B"], "never_retry": ["a:B"]},
            "never_retry",
            "contradicts retry_on: a:B; keep each exception in one of the two",
        ),
        (
            {"partition_groups": [[0, 1], [2]], "start_from": {"0": 1, "3": 1, "7": 1}},
            "start_from",
            "has partitions that are in no group of partition_groups: 3, 7; remove them",
        ),
        (
            {"max_retries": 1, "retry_on": []},
            "retry_on",
            "has no exception; name the exceptions to retry",
        ),
        (
            {"max_retries": 1, "retry_on": ["OSError", "TimeOutError"]},
            "retry_on.1",
            'is not an exception class; did you mean "TimeoutError"?',
        ),
    ],
)
def test_a_contradiction_is_named_with_its_key_and_a_way_out(written, key, words):
    found = problems(**written)
    assert list(found) == [key]
    assert words in found[key]


@pytest.mark.parametrize(
    ("written", "needed"),
    [
        ({"retry_delay": "1s"}, "max_retries"),
        ({"retry_backoff": 2}, "max_retries"),
        ({"max_retries": 1, "retry_max_delay": "5s"}, "retry_backoff"),
        ({"retry_jitter": 0.1}, "max_retries"),
        ({"retry_on": ["OSError"]}, "max_retries"),
        ({"never_retry": ["OSError"]}, "max_retries"),
        ({"dead_letter_limit": 0.1}, "dead_letter_topic"),
        ({"batch_timeout": "1s"}, "batch_size"),
    ],
    ids=lambda value: list(value)[-1] if isinstance(value, dict) else "",
)
def test_a_key_without_effect_is_a_problem_that_names_the_key_it_needs(written, needed):
    (words,) = problems(**written).values()
    assert words == f"has no effect without {needed}; write {needed} too, or remove this"


def test_no_retries_are_enough_to_keep_the_other_keys_of_retries():
    table = ConsumerTable.model_validate({**MINIMAL, "max_retries": 0, "retry_on": ["OSError"]})
    assert table.retry_on == ("OSError",)


def test_when_a_worker_hangs_or_has_done_enough_is_the_supervisors_and_no_argument_of_a_loop():
    written = {
        "silence_timeout": "10s",
        "handler_timeout": "2m",
        "stall_timeout": 0,
        "max_lifetime": "24h",
        "max_messages": 1000,
        "max_rss": "512MB",
        "recycle_jitter": 0.5,
    }
    table = ConsumerTable.model_validate({**MINIMAL, **written})
    assert table.limits() == Limits(silence=10, handler=120, stall=0)
    assert table.lifespan() == Lifespan(86_400, 1000, 512_000_000, 0.5)
    assert table.loop_options() == ConsumerTable.model_validate(MINIMAL).loop_options()


def test_unless_told_otherwise_they_are_what_their_own_modules_say():
    table = ConsumerTable.model_validate(MINIMAL)
    assert (table.limits(), table.lifespan()) == (Limits(), Lifespan())


def test_a_silence_that_every_worker_keeps_between_two_heartbeats_is_refused():
    with pytest.raises(ValidationError, match="is too short"):
        ConsumerTable.model_validate({**MINIMAL, "silence_timeout": "500ms"})
    assert ConsumerTable.model_validate({**MINIMAL, "silence_timeout": 0}).silence_timeout == 0
