"""Librdkafka's words become kafka-python's; no eviction holds up a start."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.admin import KafkaAdminClient

from supervisor.worker import eviction
from supervisor.worker.eviction import Oidc, UntranslatableError, client_config, evict_dead
from support.waiting import wait_until

SERVERS = {"bootstrap.servers": "one:9092,two:9092"}
CREDENTIALS = {"sasl.username": "worker", "sasl.password": "pa$$"}
CERTIFICATES = {
    "ssl.ca.location": "/ca.pem",
    "ssl.certificate.location": "/cert.pem",
    "ssl.key.location": "/key.pem",
    "ssl.key.password": "k3y",
}


def consumer(**more):
    return {**SERVERS, "group.id": "orders", "client.id": "shop", **more}


def test_without_security_the_addresses_and_the_client_id_are_all():
    assert client_config(consumer()) == {
        "bootstrap_servers": "one:9092,two:9092",
        "client_id": "shop",
        "security_protocol": "PLAINTEXT",
    }


def test_the_addresses_may_have_librdkafkas_older_name():
    assert client_config({"metadata.broker.list": "one"})["bootstrap_servers"] == "one"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_user_and_password_are_the_consumers_own(mechanism, name):
    config = client_config(
        consumer(**{"security.protocol": "sasl_plaintext", name: mechanism}, **CREDENTIALS)
    )

    assert config["security_protocol"] == "SASL_PLAINTEXT"
    assert config["sasl_mechanism"] == mechanism
    assert (config["sasl_plain_username"], config["sasl_plain_password"]) == ("worker", "pa$$")


def test_certificates_and_the_keys_password_are_the_consumers_own():
    config = client_config(consumer(**{"security.protocol": "ssl"}, **CERTIFICATES))

    assert config["ssl_cafile"] == "/ca.pem"
    assert config["ssl_certfile"] == "/cert.pem"
    assert config["ssl_keyfile"] == "/key.pem"
    assert config["ssl_password"] == "k3y"
    assert config["ssl_check_hostname"] is True


def test_a_host_name_that_the_consumer_does_not_check_is_not_checked():
    unchecked = {"security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "none"}

    assert client_config(consumer(**unchecked))["ssl_check_hostname"] is False


def test_what_the_security_protocol_does_not_use_plays_no_part():
    given_all = consumer(**CREDENTIALS, **CERTIFICATES, **{"ssl.ca.pem": "-----", "oauth_cb": 1})

    assert client_config(given_all) == client_config(consumer())


def test_oidc_tokens_come_from_the_same_endpoint():
    config = client_config(
        consumer(
            **{
                "security.protocol": "sasl_ssl",
                "sasl.mechanism": "OAUTHBEARER",
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": "https://login/token",
                "sasl.oauthbearer.client.id": "worker",
                "sasl.oauthbearer.client.secret": "s3cret",
                "sasl.oauthbearer.scope": "kafka",
            }
        )
    )

    provider = config["sasl_oauth_token_provider"]
    assert provider == Oidc("https://login/token", "worker", "s3cret", "kafka")
    assert "s3cret" not in repr(provider)


@pytest.mark.parametrize(
    "security",
    [
        {"security.protocol": "sasl_ssl"},  # GSSAPI, librdkafka's default
        {"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI"},
        {"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"},
        {"security.protocol": "ssl", "ssl.ca.pem": "-----BEGIN"},
        {"security.protocol": "ssl", "ssl.keystore.location": "/store.p12"},
        {"security.protocol": "ssl", "enable.ssl.certificate.verification": False},
        {"security.protocol": "ssl", "ssl.ca.location": "probe"},
    ],
)
def test_what_cannot_be_said_to_kafka_python_is_named(security):
    with pytest.raises(UntranslatableError, match=r"sasl|ssl"):
        client_config(consumer(**security))


@given(
    protocol=st.sampled_from(["plaintext", "ssl", "sasl_ssl", "SASL_PLAINTEXT"]),
    mechanism=st.sampled_from(["PLAIN", "SCRAM-SHA-512"]),
    rest=st.sets(st.sampled_from([*CREDENTIALS, *CERTIFICATES])),
)
def test_kafka_python_knows_every_property_that_comes_out(protocol, mechanism, rest):
    some = {name: value for name, value in {**CREDENTIALS, **CERTIFICATES}.items() if name in rest}
    config = client_config(
        consumer(**{"security.protocol": protocol, "sasl.mechanism": mechanism}, **some)
    )

    assert config.keys() <= KafkaAdminClient.DEFAULT_CONFIG.keys()


# Evicting


@pytest.fixture
def never_asked(monkeypatch):
    def remove(*_):
        pytest.fail("nobody was to be evicted")

    monkeypatch.setattr(eviction, "_remove", remove)


@pytest.mark.usefixtures("never_asked")
def test_a_static_member_of_a_classic_group_is_inherited_not_evicted():
    assert evict_dead(consumer(**{"group.instance.id": "a-orders-0"}), ["member"])


@pytest.mark.usefixtures("never_asked")
def test_with_nobody_dead_nobody_is_asked():
    assert evict_dead(consumer(), [])


@pytest.mark.parametrize(
    ("more", "successor", "instance"),
    [
        ({}, True, None),
        ({"group.protocol": "consumer"}, True, None),
        ({"group.protocol": "consumer", "group.instance.id": "i"}, True, "i"),
        ({"group.instance.id": "i"}, False, "i"),
    ],
)
def test_everybody_else_is_evicted_by_all_the_ids_it_has(monkeypatch, more, successor, instance):
    asked = []
    monkeypatch.setattr(
        eviction, "_remove", lambda _, m, ids: asked.append((m.group, m.instance_id, ids)) or ""
    )

    assert evict_dead(consumer(**more), ["member"], successor=successor)

    assert asked == [("orders", instance, ["member"])]


def said(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_a_refusal_is_said_with_what_follows_from_it(monkeypatch, caplog):
    monkeypatch.setattr(eviction, "_remove", lambda *_: "GroupAuthorizationFailedError")

    assert not evict_dead(consumer(**{"session.timeout.ms": 300_000}), ["member"])

    [line] = said(caplog)
    assert "GroupAuthorizationFailedError" in line
    assert "until session.timeout.ms (300 s) has passed" in line


def test_a_configuration_that_cannot_be_translated_is_said_and_costs_no_time(caplog):
    secure = {"security.protocol": "ssl", "ssl.ca.pem": "-----BEGIN"}

    assert not evict_dead(consumer(**secure), ["member"])

    [line] = said(caplog)
    assert "ssl.ca.pem" in line
    assert "-----BEGIN" not in line


# kafka-python leaves a socket whose handshake has not ended to the collector.
@pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("listens", [False, True], ids=["refused connection", "no answer"])
def test_brokers_that_do_not_answer_hold_up_a_start_for_two_seconds_at_most(caplog, listens):
    threads = set(threading.enumerate())
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))
        if listens:
            broker.listen()
        address = "{}:{}".format(*broker.getsockname())
        began = time.monotonic()

        assert not evict_dead({"bootstrap.servers": address, "group.id": "orders"}, ["member"])

        assert time.monotonic() - began < eviction.TIMEOUT + 1
        wait_until(lambda: set(threading.enumerate()) <= threads, 5, "nothing is left behind")
        gc.collect()
    assert len(said(caplog)) == 1
