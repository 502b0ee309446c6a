"""Settings profiles: values, subclasses, contradictions, KIP-848."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
import pytest

from flowodm.exceptions import ConfigurationError, SettingsError
from flowodm.settings import (
    BaseSettings,
    BatchSettings,
    HighThroughputSettings,
    LongRunningSettings,
    RealTimeSettings,
    ReliableSettings,
)

PROFILES = [
    (BaseSettings, (45_000, 15_000, 300_000, 500, "earliest", False)),
    (BatchSettings, (45_000, 15_000, 300_000, 500, "earliest", False)),
    (LongRunningSettings, (300_000, 60_000, 600_000, 100, "earliest", False)),
    (RealTimeSettings, (10_000, 3_000, 30_000, 10, "latest", True)),
    (HighThroughputSettings, (45_000, 15_000, 300_000, 1_000, "latest", True)),
    (ReliableSettings, (60_000, 20_000, 300_000, 100, "earliest", False)),
]


@pytest.mark.parametrize(("profile", "numbers"), PROFILES)
def test_a_profile_has_the_numbers_of_the_contract(profile, numbers):
    session, heartbeat, poll, records, reset, auto_commit = numbers
    assert profile().max_poll_records == records
    assert profile().to_consumer_config() == {
        "session.timeout.ms": session,
        "heartbeat.interval.ms": heartbeat,
        "max.poll.interval.ms": poll,
        "auto.offset.reset": reset,
        "enable.auto.commit": auto_commit,
    }


@pytest.mark.parametrize("profile", [row[0] for row in PROFILES])
def test_librdkafka_accepts_what_a_profile_sends(profile):
    address = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    confluent_kafka.Producer({**address, **profile().to_producer_config()})
    consumer = {**address, "group.id": "g", **profile().to_consumer_config()}
    confluent_kafka.Consumer(consumer).close()


@pytest.mark.parametrize("profile", [row[0] for row in PROFILES])
def test_a_producer_of_any_profile_is_idempotent(profile):
    assert profile().to_producer_config()["enable.idempotence"] is True


def test_a_subclass_without_decorator_overrides_its_fields():
    class Patient(LongRunningSettings):
        max_poll_interval_ms = 1_800_000
        extra_config = {"fetch.min.bytes": 1000}  # noqa: RUF012 - what a user writes

    config = Patient().to_consumer_config()
    assert config["max.poll.interval.ms"] == 1_800_000
    assert config["fetch.min.bytes"] == 1000
    assert config["session.timeout.ms"] == 300_000
    assert Patient(max_poll_interval_ms=700_000).max_poll_interval_ms == 700_000


def test_a_decorated_subclass_overrides_a_field_without_annotating_it():
    @dataclass
    class Short(BaseSettings):
        session_timeout_ms = 6_000
        heartbeat_interval_ms: int = 2_000

    assert Short().to_consumer_config()["session.timeout.ms"] == 6_000
    assert Short().to_consumer_config()["heartbeat.interval.ms"] == 2_000


def test_a_grandchild_keeps_what_the_child_set():
    class Child(BaseSettings):
        max_poll_records = 7

    class Grandchild(Child):
        auto_offset_reset = "latest"

    assert (Grandchild().max_poll_records, Grandchild().auto_offset_reset) == (7, "latest")


def test_two_instances_of_a_subclass_do_not_share_their_extra_config():
    class Tuned(BaseSettings):
        extra_config = {"fetch.min.bytes": 1}  # noqa: RUF012 - what a user writes

    Tuned().extra_config["fetch.min.bytes"] = 2
    assert Tuned().extra_config == {"fetch.min.bytes": 1}


def test_a_decorated_subclass_may_have_a_factory_for_its_extra_config():
    @dataclass
    class Compressed(BaseSettings):
        extra_config: dict[str, Any] = field(default_factory=lambda: {"fetch.min.bytes": 2})

    class Later(Compressed):
        max_poll_records = 7

    first, second = Compressed(), Later()
    first.extra_config["client.id"] = "first"
    assert second.extra_config == {"fetch.min.bytes": 2}
    assert second.max_poll_records == 7
    assert first.to_consumer_config()["client.id"] == "first"


def test_extra_config_wins_over_the_fields():
    settings = BaseSettings(extra_config={"auto.offset.reset": "latest"})
    assert settings.to_consumer_config()["auto.offset.reset"] == "latest"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"heartbeat_interval_ms": 45_000}, ["heartbeat_interval_ms=45000", "=45000"]),
        ({"max_poll_interval_ms": 44_999}, ["max_poll_interval_ms=44999", "=45000"]),
        ({"session_timeout_ms": 0}, ["session_timeout_ms=0"]),
        ({"session_timeout_ms": 3_600_001}, ["session_timeout_ms=3600001"]),
        ({"max_poll_records": 0}, ["max_poll_records=0"]),
        ({"max_poll_records": True}, ["max_poll_records=True"]),
        ({"auto_offset_reset": "none"}, ["auto_offset_reset='none'"]),
        (
            {"extra_config": {"session.timeout.ms": "400000"}},
            ["max_poll_interval_ms=300000", '"session.timeout.ms"=400000'],
        ),
        (
            {"extra_config": {"heartbeat.interval.ms": 60_000}},
            ['"heartbeat.interval.ms"=60000', "session_timeout_ms=45000"],
        ),
        ({"extra_config": {"session.timeout.ms": "soon"}}, ["'soon'"]),
    ],
)
def test_a_contradiction_is_an_error_that_names_field_and_value(values, named):
    with pytest.raises(SettingsError) as caught:
        BaseSettings(**values)
    assert isinstance(caught.value, ConfigurationError)
    assert all(part in str(caught.value) for part in named)


@pytest.mark.parametrize("session", [45_000, "45000"])
def test_a_session_set_by_its_kafka_name_alone_has_heartbeats_that_fit(session):
    settings = LongRunningSettings(extra_config={"session.timeout.ms": session})
    config = settings.to_consumer_config()
    assert (config["session.timeout.ms"], config["heartbeat.interval.ms"]) == (session, 15_000)

    settings.extra_config["heartbeat.interval.ms"] = 2_000
    assert settings.to_consumer_config()["heartbeat.interval.ms"] == 2_000


def test_values_changed_after_the_start_are_checked_again():
    settings = BaseSettings()
    settings.heartbeat_interval_ms = 90_000
    with pytest.raises(SettingsError):
        settings.to_consumer_config()


def test_the_new_group_protocol_is_not_sent_what_belongs_to_the_broker():
    settings = BaseSettings(extra_config={"group.protocol": "consumer"})
    general = {"partition.assignment.strategy": "cooperative-sticky"}
    config = settings.merged_into(general)
    assert set(config) == {
        "group.protocol",
        "max.poll.interval.ms",
        "auto.offset.reset",
        "enable.auto.commit",
    }
    address = {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0}
    confluent_kafka.Consumer({**address, **config}).close()


def test_the_protocol_counts_wherever_it_is_set():
    config = BaseSettings().merged_into({"group.protocol": "consumer"})
    assert "session.timeout.ms" not in config


def test_a_session_time_out_asked_for_beside_the_new_protocol_is_an_error():
    extra = {"group.protocol": "consumer", "session.timeout.ms": 10_000}
    with pytest.raises(SettingsError, match=r"session\.timeout\.ms.*KIP-848"):
        BaseSettings(extra_config=extra).to_consumer_config()
