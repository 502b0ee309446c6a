"""An eviction that cannot be asked for: the successor backs off until the session ends.

It says so meanwhile, and what for.
The consumer's tokens are made by librdkafka itself, which kafka-python cannot do. The group is
KIP-848's with static members, where a successor is fenced as long as its dead predecessor lives on.
"""

from __future__ import annotations

import os
import signal

import pytest

from support.brokers import records
from support.brokers.secure import SecureKafka
from support.fleets.real_fleets import PATIENCE, RealFleet, produce_orders
from support.waiting import wait_until

ORDERS = 600
SESSION = "6000"
CONSUMERS = """
[kafka.options]
"auto.offset.reset" = "earliest"
"group.protocol" = "consumer"
"bootstrap.servers" = "{address}"
"security.protocol" = "sasl_plaintext"
"sasl.mechanism" = "OAUTHBEARER"
"enable.sasl.oauthbearer.unsecure.jwt" = true
"sasl.oauthbearer.config" = "principal=worker"
[consumers.orders]
model = "shop:Order"
handler = "shop:handle_slowly"
workers = 2
group_id = "orders"
commit_strategy = "after_processing"
"""


@pytest.fixture
def secure_kafka(kafka_parts, tmp_path_factory):
    session = {
        "group.consumer.session.timeout.ms": SESSION,
        "group.consumer.min.session.timeout.ms": SESSION,
        "group.consumer.heartbeat.interval.ms": "1000",
        "group.consumer.min.heartbeat.interval.ms": "1000",
    }
    kafka = SecureKafka(tmp_path_factory.mktemp("certificates"), session)
    with kafka.server:
        records.create_topic(kafka.bootstrap_servers, "orders", 4, None)
        yield kafka


def test_without_an_eviction_a_fenced_successor_waits_its_turn(secure_kafka, tmp_path):
    plain = secure_kafka.bootstrap_servers
    address = secure_kafka.client("sasl_plaintext")["bootstrap.servers"]
    with RealFleet(tmp_path, plain, "orders", CONSUMERS.format(address=address)) as fleet:
        fleet.until_ready()
        produce_orders(plain, "orders", ORDERS)
        fleet.until_handled(ORDERS // 10)
        victim = fleet.slots()[1]

        os.kill(victim["pid"], signal.SIGKILL)

        def replaced() -> bool:
            slot = fleet.slots()[1]
            return slot["pid"] not in {None, victim["pid"]} and len(slot["partitions"]) == 2

        wait_until(replaced, PATIENCE, "a successor owns the dead worker's partitions")
        fleet.until_handled(ORDERS)
        assert fleet.stop() == 0, fleet.text()

    said = [entry for entry in fleet.log() if "is not evicted" in entry["event"]]
    assert said
    assert "sasl.oauthbearer" in said[0]["event"]
    assert "group.consumer.session.timeout.ms" in said[0]["event"]
    assert "fenced" in {entry.get("reason") for entry in fleet.log()}
