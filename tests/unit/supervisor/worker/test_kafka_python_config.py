"""Properties of librdkafka are translated into kafka-python's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.admin import KafkaAdminClient

from supervisor.worker.kafka_python_config import (
    Oidc,
    UntranslatableError,
    kafka_python_config,
)

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
    assert kafka_python_config(consumer()) == {
        "bootstrap_servers": "one:9092,two:9092",
        "client_id": "shop",
        "security_protocol": "PLAINTEXT",
    }


def test_the_addresses_may_have_librdkafkas_older_name():
    assert kafka_python_config({"metadata.broker.list": "one"})["bootstrap_servers"] == "one"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_user_and_password_are_the_consumers_own(mechanism, name):
    config = kafka_python_config(
        consumer(**{"security.protocol": "sasl_plaintext", name: mechanism}, **CREDENTIALS)
    )

    assert config["security_protocol"] == "SASL_PLAINTEXT"
    assert config["sasl_mechanism"] == mechanism
    assert (config["sasl_plain_username"], config["sasl_plain_password"]) == ("worker", "pa$$")


def test_certificates_and_the_keys_password_are_the_consumers_own():
    config = kafka_python_config(consumer(**{"security.protocol": "ssl"}, **CERTIFICATES))

    assert config["ssl_cafile"] == "/ca.pem"
    assert config["ssl_certfile"] == "/cert.pem"
    assert config["ssl_keyfile"] == "/key.pem"
    assert config["ssl_password"] == "k3y"
    assert config["ssl_check_hostname"] is True


def test_a_host_name_that_the_consumer_does_not_check_is_not_checked():
    unchecked = {"security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "none"}

    assert kafka_python_config(consumer(**unchecked))["ssl_check_hostname"] is False


def test_what_the_security_protocol_does_not_use_plays_no_part():
    given_all = consumer(**CREDENTIALS, **CERTIFICATES, **{"ssl.ca.pem": "-----", "oauth_cb": 1})

    assert kafka_python_config(given_all) == kafka_python_config(consumer())


def test_oidc_tokens_come_from_the_same_endpoint():
    config = kafka_python_config(
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
        kafka_python_config(consumer(**security))


@given(
    protocol=st.sampled_from(["plaintext", "ssl", "sasl_ssl", "SASL_PLAINTEXT"]),
    mechanism=st.sampled_from(["PLAIN", "SCRAM-SHA-512"]),
    rest=st.sets(st.sampled_from([*CREDENTIALS, *CERTIFICATES])),
)
def test_kafka_python_knows_every_property_that_comes_out(protocol, mechanism, rest):
    some = {name: value for name, value in {**CREDENTIALS, **CERTIFICATES}.items() if name in rest}
    config = kafka_python_config(
        consumer(**{"security.protocol": protocol, "sasl.mechanism": mechanism}, **some)
    )

    assert config.keys() <= KafkaAdminClient.DEFAULT_CONFIG.keys()
