"""The profiles have the values of the contract's table, and all of them reach the client."""

from __future__ import annotations

import dataclasses

import confluent_kafka
import pytest

import flowodm
from flowodm import BaseSettings, LongRunningSettings

#: session, heartbeat, max poll interval (all ms), max poll records, offset reset, auto commit
PROFILES = {
    "BaseSettings": (45_000, 15_000, 300_000, 500, "earliest", False),
    "BatchSettings": (45_000, 15_000, 300_000, 500, "earliest", False),
    "LongRunningSettings": (300_000, 60_000, 600_000, 100, "earliest", False),
    "RealTimeSettings": (10_000, 3_000, 30_000, 10, "latest", True),
    "HighThroughputSettings": (45_000, 15_000, 300_000, 1_000, "latest", True),
    "ReliableSettings": (60_000, 20_000, 300_000, 100, "earliest", False),
}


@pytest.mark.parametrize(("name", "values"), PROFILES.items())
def test_the_profile_has_its_values(name, values):
    profile = getattr(flowodm, name)()
    assert (
        profile.session_timeout_ms,
        profile.heartbeat_interval_ms,
        profile.max_poll_interval_ms,
        profile.max_poll_records,
        profile.auto_offset_reset,
        profile.enable_auto_commit,
    ) == values
    assert isinstance(profile, BaseSettings)
    assert dataclasses.is_dataclass(profile)
    assert profile.extra_config == {}


@pytest.mark.parametrize(("name", "values"), PROFILES.items())
def test_the_values_reach_librdkafka_which_takes_them(name, values):
    session, heartbeat, poll, _, reset, commit = values
    config = getattr(flowodm, name)().to_consumer_config()
    assert config == {
        "session.timeout.ms": session,
        "heartbeat.interval.ms": heartbeat,
        "max.poll.interval.ms": poll,
        "auto.offset.reset": reset,
        "enable.auto.commit": commit,
    }
    confluent_kafka.Consumer({**config, "group.id": "g", "bootstrap.servers": ""}).close()


@pytest.mark.parametrize("name", list(PROFILES))
def test_a_producer_of_any_profile_is_idempotent(name):
    config = getattr(flowodm, name)().to_producer_config()
    assert config["enable.idempotence"] is True
    assert config["acks"] == "all"
    confluent_kafka.Producer({**config, "bootstrap.servers": ""})


def test_every_field_can_be_given_and_extra_properties_win():
    profile = LongRunningSettings(
        session_timeout_ms=50_000,
        heartbeat_interval_ms=10_000,
        max_poll_interval_ms=60_000,
        max_poll_records=7,
        auto_offset_reset="latest",
        enable_auto_commit=True,
        extra_config={"session.timeout.ms": 55_000, "fetch.min.bytes": 10},
    )
    config = profile.to_consumer_config()
    assert config["session.timeout.ms"] == 55_000
    assert config["fetch.min.bytes"] == 10
    assert config["auto.offset.reset"] == "latest"
    assert profile.max_poll_records == 7


def test_two_profiles_do_not_share_their_extra_properties():
    BaseSettings().extra_config["fetch.min.bytes"] = 1
    assert BaseSettings().extra_config == {}
