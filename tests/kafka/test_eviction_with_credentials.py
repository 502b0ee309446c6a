"""The dead are evicted over whatever connection their consumer had, with its own credentials."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from supervisor.worker.eviction import evict_dead
from support.brokers import records
from support.brokers.clients import admin_client
from support.brokers.secure import USER, SecureKafka
from support.waiting import wait_until

PATIENCE = 30.0
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture(scope="module")
def secure_kafka(kafka_parts, tmp_path_factory):
    kafka = SecureKafka(tmp_path_factory.mktemp("certificates"), AUTHORIZER)
    with kafka.server:
        kafka.add_user()
        records.create_topic(kafka.bootstrap_servers, "orders", 1, None)
        yield kafka


def members(kafka, group):
    admin = admin_client(kafka.bootstrap_servers)
    return admin.describe_consumer_groups([group])[group].result(10).members


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("sasl_plaintext", "PLAIN"),
        ("sasl_plaintext", "SCRAM-SHA-512"),
        ("sasl_ssl", "SCRAM-SHA-512"),
        ("sasl_ssl", "PLAIN"),
        ("ssl", None),
    ],
)
def test_the_consumers_own_credentials_evict_it(secure_kafka, group, protocol, mechanism, caplog):
    config = secure_kafka.client(protocol, mechanism) | {"group.id": group}
    consumer = Consumer(config)
    consumer.subscribe(["orders"])
    joined = lambda: consumer.poll(0.05) is None and bool(consumer.assignment())  # noqa: E731
    wait_until(joined, PATIENCE, "the member has joined")
    member_id = consumer.memberid()
    assert [member.member_id for member in members(secure_kafka, group)] == [member_id]

    # It does not poll any more, as if it were dead, so it cannot join anew.
    assert evict_dead(config, [member_id]), caplog.text

    assert members(secure_kafka, group) == []
    consumer.close()


def test_wrong_credentials_are_said_and_raise_nothing(secure_kafka, group, caplog):
    config = secure_kafka.client("sasl_plaintext", "PLAIN") | {"group.id": group}

    assert not evict_dead(config | {"sasl.password": "wr0ng"}, ["member"])

    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "is not evicted" in line
    assert "wr0ng" not in caplog.text


def test_a_broker_that_refuses_is_said_and_raises_nothing(secure_kafka, group, caplog):
    """Its access control lists have changed since the consumer joined."""
    refusal = AclBinding(
        ResourceType.GROUP,
        group,
        ResourcePatternType.LITERAL,
        f"User:{USER}",
        "*",
        AclOperation.READ,
        AclPermissionType.DENY,
    )
    admin = admin_client(secure_kafka.bootstrap_servers)
    admin.create_acls([refusal])[refusal].result(10)
    config = secure_kafka.client("sasl_plaintext", "PLAIN") | {"group.id": group}

    assert not evict_dead(config, ["member"])

    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "is not evicted" in line
    assert "authoriz" in line.lower()
