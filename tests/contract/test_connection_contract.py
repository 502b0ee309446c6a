"""connect(), the connection and its getters: arguments, environment, and what 0.3.1 promised."""

from __future__ import annotations

import inspect

import pytest

from flowodm import (
    ConfigurationError,
    KafkaConnection,
    LongRunningSettings,
    connect,
    get_async_consumer,
    get_async_producer,
    get_consumer,
    get_kafka_connection,
    get_producer,
    get_schema_registry,
)
from support.signatures import REQUIRED, assert_takes

ARGUMENTS = dict.fromkeys(
    [
        "bootstrap_servers",
        "security_protocol",
        "sasl_mechanism",
        "sasl_username",
        "sasl_password",
        "schema_registry_url",
        "schema_registry_api_key",
        "schema_registry_api_secret",
        "schema_registry_basic_auth_user_info",
    ]
)
CONSUMER = {"group_id": REQUIRED, "topics": None, "settings": None}
NOWHERE = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def quiet() -> None:
    get_kafka_connection().reset()
    connect(producer_config={"log_level": 0}, consumer_config={"log_level": 0})


def test_connect_takes_the_arguments_of_0_3_1_in_their_order():
    assert_takes(connect, ARGUMENTS)


def test_configure_takes_the_same():
    connection = get_kafka_connection()
    connection.configure(NOWHERE, schema_registry_url="http://127.0.0.1:1")
    assert connection.consumer_config("g")["bootstrap.servers"] == NOWHERE


@pytest.mark.parametrize("function", [get_consumer, KafkaConnection.get_consumer])
def test_get_consumer_takes_a_group_alone_as_documented(function):
    assert_takes(function, CONSUMER)


@pytest.mark.parametrize("function", [get_async_consumer, KafkaConnection.get_async_consumer])
def test_get_async_consumer_is_awaited(function):
    assert_takes(function, CONSUMER)
    assert inspect.iscoroutinefunction(function)


@pytest.mark.parametrize("function", [get_async_producer, KafkaConnection.get_async_producer])
def test_get_async_producer_is_awaited(function):
    assert_takes(function, {})
    assert inspect.iscoroutinefunction(function)


def test_there_is_one_connection_whoever_asks():
    connection = connect(bootstrap_servers=NOWHERE)
    assert connection is get_kafka_connection()
    assert connection is KafkaConnection()


def test_each_argument_falls_back_to_its_variable(monkeypatch):
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:2",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": "someone",
        "KAFKA_SASL_PASSWORD": "their password",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = get_kafka_connection().consumer_config("g")
    names = [
        "bootstrap.servers",
        "security.protocol",
        "sasl.mechanism",
        "sasl.username",
        "sasl.password",
    ]
    assert [found[name] for name in names] == list(variables.values())

    connect(bootstrap_servers=NOWHERE, sasl_username="another")
    found = get_kafka_connection().consumer_config("g")
    assert (found["bootstrap.servers"], found["sasl.username"]) == (NOWHERE, "another")


@pytest.mark.parametrize(
    "variables",
    [
        {"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "key:secret"},
        {"SCHEMA_REGISTRY_API_KEY": "key", "SCHEMA_REGISTRY_API_SECRET": "secret"},
    ],
    ids=["user info", "key and secret"],
)
def test_the_registry_is_configured_by_variables_too(monkeypatch, variables):
    for name, value in {"SCHEMA_REGISTRY_URL": "http://127.0.0.1:1", **variables}.items():
        monkeypatch.setenv(name, value)
    config = get_kafka_connection()._options.registry()
    assert config["url"] == "http://127.0.0.1:1"
    assert config["basic.auth.user.info"] == "key:secret"


def test_the_dicts_for_producers_consumers_and_registry_arrive():
    connect(
        bootstrap_servers=NOWHERE,
        producer_config={"linger.ms": 7},
        consumer_config={"fetch.min.bytes": 8},
        schema_registry_config={"url": "http://127.0.0.1:1", "timeout": 3},
    )
    connection = get_kafka_connection()
    assert connection.producer_config()["linger.ms"] == 7
    assert connection.consumer_config("g")["fetch.min.bytes"] == 8
    assert connection._options.registry()["timeout"] == 3


def test_tls_can_be_set_by_argument_and_by_property():
    connect(NOWHERE, security_protocol="SSL", ssl_ca_location="ca.pem")
    found = get_kafka_connection().producer_config()
    assert (found["security.protocol"], found["ssl.ca.location"]) == ("SSL", "ca.pem")


def test_the_producer_and_a_group_s_consumer_are_made_once():
    connect(bootstrap_servers=NOWHERE)
    connection = get_kafka_connection()
    assert get_producer() is get_producer() is connection.producer
    assert get_consumer("g", ["t"]) is connection.get_consumer("g", ["t"])
    assert get_consumer("g", ["t"]) is not get_consumer("h", ["t"])
    assert get_consumer("g") is not get_consumer("g", ["t"])
    assert get_consumer("g", ["t"], LongRunningSettings()) is not get_consumer("g", ["t"])


async def test_the_clients_for_coroutines_are_made_once_too():
    connect(bootstrap_servers=NOWHERE)
    assert await get_async_producer() is await get_async_producer()
    assert await get_async_consumer("g", ["t"]) is await get_async_consumer("g", ["t"])


def test_a_consumer_that_was_closed_is_not_handed_out_again():
    connect(bootstrap_servers=NOWHERE)
    first = get_consumer("g", ["t"])
    first.close()
    assert get_consumer("g", ["t"]) is not first


def test_after_close_connection_everything_is_made_anew():
    connect(bootstrap_servers=NOWHERE)
    producer, consumer = get_producer(), get_consumer("g", ["t"])
    get_kafka_connection().close_connection()
    assert get_producer() is not producer
    assert get_consumer("g", ["t"]) is not consumer


@pytest.mark.parametrize(
    "ask", [get_producer, lambda: get_consumer("g"), get_schema_registry], ids=["p", "c", "r"]
)
def test_without_an_address_the_error_names_the_way_out(ask):
    with pytest.raises(ConfigurationError, match=r"KAFKA_BOOTSTRAP_SERVERS|SCHEMA_REGISTRY_URL"):
        ask()


def test_the_registry_is_confluent_s_own_client():
    connect(schema_registry_url="http://127.0.0.1:1")
    assert get_schema_registry() is get_kafka_connection().schema_registry
    assert type(get_schema_registry()).__name__ == "SchemaRegistryClient"


def test_nothing_secret_is_shown():
    connect(
        NOWHERE,
        sasl_username="someone",
        sasl_password="hush",
        schema_registry_url="http://user:hush@127.0.0.1:1",
        schema_registry_api_secret="hush",
    )
    assert "hush" not in repr(get_kafka_connection())
