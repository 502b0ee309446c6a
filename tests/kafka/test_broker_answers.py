"""The real Kafka that the other tests trust."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from support.brokers.clients import IMPATIENT, admin_client, consumer_of
from support.brokers.records import (
    Raw,
    committed_offsets,
    create_topic,
    end_offsets,
    produce,
    read_all,
)
from support.waiting import wait_until


def test_a_topic_keeps_every_record_in_order_within_its_partition(kafka, topic):
    records = [Raw(b"%d" % n, key=b"k", partition=n % 4) for n in range(2_000)]

    assert produce(kafka, topic, records) == 2_000

    assert end_offsets(kafka, topic) == {0: 500, 1: 500, 2: 500, 3: 500}
    read = sorted(read_all(kafka, topic), key=lambda message: message.partition())
    for partition, messages in itertools.groupby(read, lambda message: message.partition()):
        values = [int(message.value()) for message in messages]
        assert values == list(range(partition, 2_000, 4))


def test_tombstones_keys_and_headers_come_back_as_sent(kafka, new_topic):
    topic = new_topic(partitions=1)

    produce(kafka, topic, [Raw(None, key=b"gone", headers=(("why", b"test"), ("empty", None)))])

    (message,) = read_all(kafka, topic)
    assert (message.key(), message.value()) == (b"gone", None)
    assert message.headers() == [("why", b"test"), ("empty", None)]


def test_an_empty_topic_reads_as_no_records(kafka, topic):
    assert read_all(kafka, topic) == []


def test_a_topic_exists_only_once_somebody_created_it(kafka):
    with pytest.raises(AssertionError, match=r"1 were refused|1 are unacknowledged"):
        produce(kafka, "nobody-created-this", [b"lost"], timeout=0.5)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_joins_reads_and_commits(kafka, topic, group, protocol):
    produce(kafka, topic, [b"%d" % n for n in range(100)])
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **IMPATIENT,
        }
    )
    seen: list[bytes] = []

    def all_read() -> bool:
        seen.extend(message.value() for message in consumer.consume(100, timeout=0.1))
        return len(seen) == 100

    assert committed_offsets(kafka, group, topic) == {}
    try:
        consumer.subscribe([topic])
        wait_until(all_read, 20, "the group has read all 100 records")
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()

    committed = committed_offsets(kafka, group, topic)
    assert sum(committed.values()) == 100
    assert committed == {p: end for p, end in end_offsets(kafka, topic).items() if end}


def test_records_offsets_and_port_survive_a_restart_and_a_crash(new_kafka_server):
    # A short broker session: the controller soon forgets the broker that was killed.
    server = new_kafka_server(
        {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
    )
    bootstrap = server.bootstrap_servers
    create_topic(bootstrap, "kept", partitions=1)
    produce(bootstrap, "kept", [b"before"])
    place = TopicPartition("kept", 0, 1)
    with consumer_of(bootstrap, "g") as consumer:
        consumer.commit(offsets=[place], asynchronous=False)

    first = server.pid
    server.restart()
    second = server.pid
    server.kill()
    with pytest.raises(KafkaException):
        admin_client(bootstrap).list_topics(timeout=0.5)
    server.start()

    assert len({first, second, server.pid}) == 3
    assert server.bootstrap_servers == bootstrap
    assert [message.value() for message in read_all(bootstrap, "kept")] == [b"before"]
    assert committed_offsets(bootstrap, "g", "kept") == {0: 1}


def test_a_server_that_cannot_start_says_why_and_leaves_nothing_behind(
    new_kafka_server, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(AssertionError, match=r"offsets\.topic\.num\.partitions"):
        new_kafka_server({"offsets.topic.num.partitions": "none"})

    assert list(tmp_path.iterdir()) == []


def test_a_stopped_server_leaves_no_process_and_no_data(new_kafka_server):
    server = new_kafka_server()
    pid, data = server.pid, server.data

    server.close()

    assert not running(pid)
    assert not data.exists()
    assert server.log_path.exists()


STARTS_ONE_AND_DIES = """
import os
from support.brokers.kafka_server import KafkaServer
server = KafkaServer().__enter__()
print(server.pid, server.data, flush=True)
os._exit(1)
"""


def test_a_server_does_not_outlive_a_test_process_that_dies(kafka_parts):
    tests = Path(__file__).parents[1]
    dead = subprocess.run(
        [sys.executable, "-c", STARTS_ONE_AND_DIES],
        env=os.environ | {"PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        check=False,
    )
    pid, data = dead.stdout.split()

    wait_until(lambda: not running(int(pid)), 10, "the server of the dead process has ended")
    wait_until(lambda: not Path(data).exists(), 10, "its data is removed")


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
