"""The process's connection: configuration, environment, secrets, forks, shutdown."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest

from flowodm.connection import (
    KafkaConnection,
    connect,
    get_async_consumer,
    get_async_producer,
    get_consumer,
    get_kafka_connection,
    get_producer,
    get_schema_registry,
)
from flowodm.consumer import ConsumerLoop
from flowodm.exceptions import ConfigurationError, SettingsError
from flowodm.model import FlowBaseModel
from flowodm.settings import BaseSettings, LongRunningSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = "127.0.0.1:1"
QUIET = {"log_level": 0}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("KAFKA_", "SCHEMA_REGISTRY_")):
            monkeypatch.delenv(name)
    get_kafka_connection().reset()
    yield
    get_kafka_connection().reset()


def connect_nobody(**options: Any) -> KafkaConnection:
    return connect(NOBODY, producer_config=QUIET, consumer_config=QUIET, **options)


def test_there_is_one_connection_whoever_asks():
    assert connect(NOBODY) is get_kafka_connection() is KafkaConnection()


def test_no_address_is_an_error_that_says_both_ways_out():
    with pytest.raises(ConfigurationError, match=r"KAFKA_BOOTSTRAP_SERVERS.*connect\("):
        get_producer()
    with pytest.raises(ConfigurationError, match=r"KAFKA_BOOTSTRAP_SERVERS.*connect\("):
        get_consumer("g")


def test_the_environment_is_read_when_it_is_needed(monkeypatch):
    connect()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "env:1")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "me")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    config = get_kafka_connection().consumer_config("g")
    assert config["bootstrap.servers"] == "env:1"
    assert config["security.protocol"] == "SASL_SSL"
    assert config["sasl.mechanism"] == "PLAIN"
    assert (config["sasl.username"], config["sasl.password"]) == ("me", "hunter2")


def test_an_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "env:1")
    assert connect("arg:1").consumer_config("g")["bootstrap.servers"] == "arg:1"


def test_a_later_call_keeps_what_it_does_not_name():
    connect("arg:1", sasl_username="me")
    config = connect(sasl_password="hunter2").consumer_config("g")
    assert (config["bootstrap.servers"], config["sasl.username"]) == ("arg:1", "me")


def test_an_unknown_argument_is_an_error():
    with pytest.raises(TypeError):
        get_kafka_connection().configure(bootstrap_server="typo:1")


def test_the_more_particular_configuration_wins():
    connection = connect(
        NOBODY,
        consumer_config={"session.timeout.ms": 1, "fetch.min.bytes": 2, "client.id": "all"},
    )
    settings = BaseSettings(extra_config={"client.id": "profile"})
    config = connection.consumer_config("g", settings)
    assert config["session.timeout.ms"] == 45_000
    assert config["fetch.min.bytes"] == 2
    assert config["client.id"] == "profile"
    assert connection.consumer_config("g", settings, {"client.id": "own"})["client.id"] == "own"
    assert settings.extra_config == {"client.id": "profile"}


def test_the_new_group_protocol_counts_wherever_it_is_asked_for():
    connection = connect_nobody()
    for config in (
        connection.consumer_config("g", LongRunningSettings(), {"group.protocol": "consumer"}),
        connect(consumer_config={"group.protocol": "consumer", **QUIET}).consumer_config("g"),
    ):
        assert "session.timeout.ms" not in config
        assert "partition.assignment.strategy" not in config
        confluent_kafka.Consumer(config).close()


def test_the_producer_is_idempotent_unless_told_otherwise():
    assert connect(NOBODY).producer_config()["enable.idempotence"] is True
    loose = connect(producer_config={"enable.idempotence": False}).producer_config()
    assert loose["enable.idempotence"] is False


def test_a_property_that_librdkafka_refuses_is_a_configuration_error():
    connect(NOBODY, producer_config={"acks": "some"}, consumer_config={"no.such": 1})
    with pytest.raises(ConfigurationError, match="acks"):
        get_producer()
    with pytest.raises(ConfigurationError, match=r"no\.such"):
        get_consumer("g")


def test_contradicting_settings_are_an_error_before_any_client():
    settings = BaseSettings()
    settings.heartbeat_interval_ms = 60_000
    with pytest.raises(SettingsError):
        connect_nobody().get_consumer("g", ["t"], settings)


def test_threads_that_come_at_once_share_one_producer():
    connect_nobody()
    start = threading.Barrier(8)
    producers = []

    def ask() -> None:
        start.wait()
        producers.append(get_producer())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(producer) for producer in producers}) == 1


def test_a_consumer_is_the_same_until_it_is_closed():
    connection = connect_nobody()
    first = connection.get_consumer("g", ["t"])
    assert connection.get_consumer("g", ["t"]) is first
    assert connection.get_consumer("other", ["t"]) is not first
    assert connection.get_consumer("g", ["other"]) is not first
    assert connection.get_consumer("g", ["t"], LongRunningSettings()) is not first
    first.close()
    second = connection.get_consumer("g", ["t"])
    assert second is not first
    assert second.assignment() == []


def test_closing_makes_new_clients_on_the_next_use():
    connection = connect_nobody()
    producer, consumer = connection.producer, connection.get_consumer("g")
    assert connection.polls(producer)
    connection.close_connection()
    assert not connection.polls(producer)
    assert connection.producer is not producer
    assert connection.get_consumer("g") is not consumer
    with pytest.raises(RuntimeError):
        consumer.assignment()


def test_a_change_closes_the_clients_and_no_change_keeps_them():
    producer = connect_nobody().producer
    assert connect_nobody().producer is producer
    assert connect(sasl_username="me").producer is not producer


def test_librdkafka_speaks_through_logging(caplog):
    connect(NOBODY, producer_config={"group.id": "a consumer's property"})
    with caplog.at_level(logging.WARNING, "flowodm.librdkafka"):
        producer = get_producer()
        get_kafka_connection().close_connection()
        producer.poll(0)
    assert "group.id is a consumer property" in caplog.text


class TestRegistry:
    def test_none_is_configured(self):
        assert connect(NOBODY).schema_registry is None
        assert get_kafka_connection().registry is None
        with pytest.raises(ConfigurationError, match="SCHEMA_REGISTRY_URL"):
            get_schema_registry()

    def test_confluents_client_is_made_with_the_credentials(self):
        connect(schema_registry_url="http://127.0.0.1:1", schema_registry_api_key="me")
        with pytest.raises(ConfigurationError, match="both API key and secret"):
            get_schema_registry()
        connect(schema_registry_api_secret="hunter2")
        assert get_schema_registry()._rest_client.auth == ("me", "hunter2")
        assert get_schema_registry() is get_schema_registry()

    def test_the_environment_names_it_too(self, monkeypatch):
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", "me:hunter2")
        assert get_schema_registry()._rest_client.auth == ("me", "hunter2")

    def test_its_own_properties_win(self):
        connect(
            schema_registry_url="http://127.0.0.1:1",
            schema_registry_config={"timeout": 1, "basic.auth.user.info": "a:b"},
        )
        assert get_schema_registry()._rest_client.timeout == 1


def test_tls_is_said_once_for_producers_and_consumers(monkeypatch):
    monkeypatch.setenv("KAFKA_SSL_CA_LOCATION", "/ca.pem")
    connection = connect(
        NOBODY,
        "SSL",
        ssl_certificate_location="/client.pem",
        ssl_key_location="/client.key",
        ssl_key_password="hunter2",
    )
    expected = {
        "ssl.ca.location": "/ca.pem",
        "ssl.certificate.location": "/client.pem",
        "ssl.key.location": "/client.key",
        "ssl.key.password": "hunter2",
    }
    for config in (connection.producer_config(), connection.consumer_config("g")):
        assert {name: config[name] for name in expected} == expected


def test_properties_for_all_clients_win_over_defaults_and_lose_against_those_of_one_kind():
    connection = connect(
        NOBODY,
        kafka_config={"client.id": "all", "acks": "1", "enable.idempotence": False},
        producer_config={"client.id": "producer"},
    )
    producer, consumer = connection.producer_config(), connection.consumer_config("g")
    assert (producer["client.id"], producer["acks"]) == ("producer", "1")
    assert producer["enable.idempotence"] is False
    assert consumer["client.id"] == "all"
    assert (
        connect(kafka_config={"bootstrap.servers": "other:1"}).producer_config()[
            "bootstrap.servers"
        ]
        == "other:1"
    )
    assert "other:1" in repr(connection)


def test_a_callback_may_belong_to_an_object_that_cannot_be_copied():
    class Tokens:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def token(self, _config: str) -> tuple[str, float]:
            return "t", 0.0

    tokens = Tokens()
    connection = connect(NOBODY, kafka_config={"oauth_cb": tokens.token})
    assert connection.producer_config()["oauth_cb"] == tokens.token


def test_what_was_said_is_not_changed_by_who_said_it():
    config = {"client.id": "first"}
    connection = connect(NOBODY, producer_config=config)
    config["client.id"] = "second"
    assert connection.producer_config()["client.id"] == "first"


def test_a_refusal_of_librdkafkas_shows_no_secret():
    connect(NOBODY, kafka_config={"sasl.password": "hunter2", "security.protocol": "hunter2"})
    with pytest.raises(ConfigurationError, match=r"security\.protocol") as caught:
        get_producer()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("config", [{"oauth_cb": 5}, {"stats_cb": 5}])
def test_a_property_of_the_wrong_type_is_a_configuration_error(config):
    connect(NOBODY, kafka_config=config)
    with pytest.raises(ConfigurationError):
        get_producer()


def test_coroutines_get_the_same_clients():
    """So that one process keeps one order of records and one membership of a group."""
    connection = connect_nobody()

    async def ask() -> None:
        producer = await get_async_producer()
        assert await get_async_producer() is producer
        assert producer._producer is get_producer()
        consumer = await get_async_consumer("g", ["t"])
        assert await get_async_consumer("g", ["t"]) is consumer
        assert consumer.consumer is get_consumer("g", ["t"])
        assert await get_async_consumer("other", ["t"]) is not consumer
        await consumer.close()
        fresh = await get_async_consumer("g", ["t"])
        assert fresh is not consumer
        assert not fresh.closed

    asyncio.run(ask())
    asyncio.run(ask())
    connection.close_connection()
    assert not [t for t in threading.enumerate() if t.name.startswith("flowodm-consumer")]


def test_no_secret_is_in_any_repr():
    connection = connect(
        NOBODY,
        "SASL_SSL",
        "PLAIN",
        "me",
        "hunter2",
        "http://me:hunter2@127.0.0.1:1",
        schema_registry_basic_auth_user_info="me:hunter2",
        producer_config={"ssl.key.password": "hunter2"},
        consumer_config={"ssl.key.password": "hunter2"},
        schema_registry_config={"ssl.key.password": "hunter2"},
        kafka_config={"ssl.key.pem": "hunter2"},
        ssl_key_password="hunter2",
    )
    shown = f"{connection!r} {connection._options!r} {connection.registry!r}"
    assert "hunter2" not in shown
    assert "http://127.0.0.1:1" in shown


@dataclass
class Written(BaseSettings):
    extra_config: dict[str, Any] = field(default_factory=lambda: {"sasl.password": "hunter2"})


class Plain(BaseSettings):
    extra_config = {"sasl.password": "hunter2"}  # noqa: RUF012 - as a user would write it


@pytest.mark.parametrize(
    "settings", [BaseSettings(extra_config={"sasl.password": "hunter2"}), Written(), Plain()]
)
def test_no_secret_is_in_the_repr_of_a_profile_or_a_loops_options(settings):
    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"
            consumer_group = "g"

        n: int

    connect(NOBODY, sasl_password="hunter2")
    loop = ConsumerLoop(Order, print, settings, consumer_config={"ssl.key.pem": "hunter2"})
    assert settings.extra_config == {"sasl.password": "hunter2"}
    source = loop.options.source()
    assert source.config["sasl.password"] == source.config["ssl.key.pem"] == "hunter2"
    assert "hunter2" not in f"{settings!r} {loop!r} {loop.options!r} {source!r}"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_flowodm_does_not_load_the_registry_client():
    done = run("""
        import sys, flowodm.model
        assert "confluent_kafka.schema_registry" not in sys.modules
    """)
    assert done.returncode == 0, done.stderr


def test_a_forked_child_makes_its_own_clients_and_ends_cleanly():
    done = run("""
        import os, sys
        from flowodm.connection import connect
        quiet = {"log_level": 0}
        c = connect("127.0.0.1:1", producer_config=quiet, consumer_config=quiet)
        producer, consumer = id(c.producer), id(c.get_consumer("g", ["t"]))
        for use in (False, True):
            child = os.fork()
            if child == 0:
                if use:
                    assert id(c.producer) != producer
                    assert id(c.get_consumer("g", ["t"])) != consumer
                sys.exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert id(c.producer) == producer
    """)
    assert done.returncode == 0, done.stderr


def test_a_fork_while_a_thread_holds_the_lock_leaves_the_child_usable():
    done = run("""
        import os, sys, threading
        from flowodm.connection import connect
        c = connect("127.0.0.1:1", producer_config={"log_level": 0})
        held, release = threading.Event(), threading.Event()
        def hold():
            with c._lock:
                held.set()
                release.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            c.producer
            os._exit(7)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        release.set()
        thread.join()
        assert status == 7
    """)
    assert done.returncode == 0, done.stderr


def test_undelivered_messages_are_flushed_at_exit_with_a_bound():
    done = run("""
        import logging
        logging.basicConfig()
        import flowodm.connection.clients
        flowodm.connection.clients.FLUSH_TIMEOUT = 0.3
        from flowodm.connection import connect
        connect("127.0.0.1:1", producer_config={"log_level": 0}).producer.produce("t", b"x")
    """)
    assert done.returncode == 0, done.stderr
    assert "1 messages were not delivered within 0.3 s" in done.stderr
