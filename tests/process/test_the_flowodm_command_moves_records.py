"""flowodm produce and flowodm consume, on a real Kafka and registry."""

from __future__ import annotations

import json
import signal
import time

import pytest
from confluent_kafka import Producer

from flowodm.cli.process import ExitStatus
from flowodm.testing import KafkaProxy
from support.brokers.clients import admin_client
from support.brokers.records import Raw, end_offsets, produce, read_all
from support.commands.flowodm_command import Shop
from support.waiting import wait_until

PATIENCE = 30.0


def order(number: int, customer: str = "nobody") -> dict[str, object]:
    return {"number": number, "customer": customer}


def lines(*said: object) -> str:
    return "".join(json.dumps(line) + "\n" for line in said)


@pytest.fixture
def stocked(command_host, tmp_path, kafka, new_topic):
    """A shop whose topic of two partitions is there, and empty."""
    return Shop(command_host, tmp_path, new_topic(2), KAFKA_BOOTSTRAP_SERVERS=kafka)


def test_what_is_produced_is_consumed(stocked, kafka):
    done = stocked.runs("produce", "shop:Order", stdin=lines(order(1, "a"), order(2)) + "\n\n")
    assert (done.status, done.stdout) == (ExitStatus.DONE, "")
    assert done.stderr.splitlines()[-1] == f"2 records produced to {stocked.topic}"
    assert sorted(record.key() for record in read_all(kafka, stocked.topic)) == [b"a", b"nobody"]

    done = stocked.runs("consume", "shop:Order")
    assert done.status == ExitStatus.DONE
    assert sorted(line["number"] for line in done.lines) == [1, 2]
    assert done.lines == [order(line["number"], line["customer"]) for line in done.lines]


def test_with_a_registry_records_carry_the_id_of_their_schema(stocked, kafka, registry):
    stocked.environment["SCHEMA_REGISTRY_URL"] = registry
    done = stocked.runs("produce", "shop:Order", "--json", stdin=lines(order(1)))
    assert done.told == {"topic": stocked.topic, "produced": 1, "failed": []}
    (record,) = read_all(kafka, stocked.topic)
    said = stocked.runs("consume", "shop:Order", "--envelope")
    (line,) = said.lines
    assert line["schema_id"] == int.from_bytes(record.value()[1:5], "big")
    assert line["value"] == order(1)


def test_an_envelope_holds_the_record_and_makes_it_again(stocked, kafka):
    headers = [["trace", "größer"], ["raw", {"base64": "/w=="}], ["trace", None]]
    said = {"value": order(1, "a"), "key": {"base64": "/w=="}, "headers": headers}
    tombstone = {"value": None, "key": "gone"}
    done = stocked.runs("produce", "shop:Order", "--envelope", stdin=lines(said, tombstone))
    assert done.status == ExitStatus.DONE, done

    first = stocked.runs("consume", "shop:Order", "--envelope")
    assert stocked.runs("produce", "shop:Order", "-", "--envelope", stdin=first.stdout).status == 0
    records = {}
    for record in read_all(kafka, stocked.topic):
        records.setdefault(record.key(), []).append((record.value(), record.headers()))
    assert set(records) == {b"\xff", b"gone"}
    assert records[b"gone"] == [(None, None)] * 2
    once, again = records[b"\xff"]
    assert once == again
    assert once[1] == [("trace", "größer".encode()), ("raw", b"\xff"), ("trace", None)]

    places = {(line["partition"], line["offset"]) for line in first.lines}
    assert len(places) == 2
    assert {line["topic"] for line in first.lines} == {stocked.topic}
    assert all(line["timestamp"].endswith("+00:00") for line in first.lines)

    plain = stocked.runs("consume", "shop:Order")
    assert plain.lines == [order(1, "a")] * 2
    assert "2 tombstones skipped" in plain.stderr


def test_the_first_line_that_is_no_message_ends_it_and_what_was_sent_stays(stocked, kafka):
    bad = stocked.folder / "bad.jsonl"
    bad.write_text(lines(order(1), {"number": "hunter2"}, order(3)))
    done = stocked.runs("produce", "shop:Order", "bad.jsonl")
    assert done.status == ExitStatus.NO
    assert "flowodm: line 2: number: Input should be a valid integer" in done.stderr
    assert f"1 record produced to {stocked.topic}" in done.stderr
    assert "hunter2" not in done.stderr
    assert sum(end_offsets(kafka, stocked.topic).values()) == 1

    done = stocked.runs("produce", "shop:Order", "bad.jsonl", "--keep-going", "--json")
    assert done.status == ExitStatus.NO
    assert done.told["produced"] == 2
    assert [failure["line"] for failure in done.told["failed"]] == [2]
    assert sum(end_offsets(kafka, stocked.topic).values()) == 3


def test_a_record_that_the_broker_refuses_is_told_with_its_line(stocked, new_topic):
    stocked.environment["SHOP_TOPIC"] = new_topic(1, {"max.message.bytes": "1000"})
    # Each in a batch of its own, so that the large one takes none with it.
    said = lines(order(1), order(2, "x" * 2_000), order(3))
    done = stocked.runs("produce", "shop:Order", "-X", "batch.num.messages=1", stdin=said)
    assert done.status == ExitStatus.REFUSED
    assert "flowodm: line 2: not delivered: Broker: Message size too large" in done.stderr


def test_a_record_that_cannot_be_read_is_reported_and_passed_over(stocked, kafka):
    produce(kafka, stocked.topic, [Raw(b"\xff", None, 1)])
    stocked.runs("produce", "shop:Order", stdin=lines(order(1)))
    done = stocked.runs("consume", "shop:Order")
    assert done.status == ExitStatus.NO
    assert done.lines == [order(1)]
    assert f"flowodm: topic {stocked.topic}, partition 1, offset 0: Order cannot" in done.stderr
    assert done.stderr.splitlines()[-1] == "flowodm: 1 record could not be read"


@pytest.fixture
def numbered(stocked, kafka):
    """Two partitions of five orders each, 0 to 4 and 10 to 14, a second apart; the last is now."""
    now = int(time.time() * 1000)
    producer = Producer({"bootstrap.servers": kafka})
    for number in range(5):
        for partition in (0, 1):
            value = bytes([2 * (number + 10 * partition)]) + b"\x02a"
            moment = now - 3_600_000 * (4 - number)
            producer.produce(stocked.topic, value, partition=partition, timestamp=moment)
    assert producer.flush(PATIENCE) == 0
    return stocked


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ([], [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]),
        (["--from", "latest"], []),
        (["--from", "3"], [3, 4, 13, 14]),
        (["--from", "-1"], [4, 14]),
        (["--from", "90m"], [3, 4, 13, 14]),
        (["--from", "2000-01-01", "--partition", "1"], [10, 11, 12, 13, 14]),
        (["--from", "2999-01-01"], []),
        (["--partition", "0", "--max", "2"], [0, 1]),
        (["--max", "0"], []),
        (["--follow", "--max", "10"], [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]),
    ],
    ids=lambda part: " ".join(map(str, part)),
)
def test_it_begins_and_ends_where_it_is_told(numbered, arguments, numbers):
    done = numbered.runs("consume", "shop:Order", *arguments)
    assert done.status == ExitStatus.DONE, done
    assert sorted(line["number"] for line in done.lines) == numbers


def test_a_partition_that_is_not_there_is_said(numbered):
    done = numbered.runs("consume", "shop:Order", "--partition", "2")
    assert done.status == ExitStatus.CONFIGURATION
    assert "has no partition 2: it has 2, numbered from 0" in done.stderr


def test_nothing_is_committed_and_no_group_is_joined(numbered, kafka):
    numbered.runs("consume", "shop:Order")
    groups = admin_client(kafka).list_consumer_groups().result(PATIENCE)
    assert "flowodm-command" not in {group.group_id for group in groups.valid}


def test_following_goes_on_until_ctrl_c_which_is_its_ordinary_end(stocked):
    following = stocked.starts("consume", "shop:Order", "--follow")
    for number in (1, 2):  # the second comes after everything was read
        stocked.runs("produce", "shop:Order", stdin=lines(order(number)))
        assert json.loads(following.stdout.readline()) == order(number)
    following.send_signal(signal.SIGINT)
    out, said = following.communicate(timeout=PATIENCE)
    assert (following.returncode, out) == (ExitStatus.DONE, "")
    assert "Traceback" not in said


def test_following_waits_for_a_broker_that_is_away(stocked, kafka):
    with KafkaProxy(kafka) as proxy:
        following = stocked.starts("consume", "shop:Order", "-f", "-b", proxy.bootstrap_servers)
        stocked.runs("produce", "shop:Order", stdin=lines(order(1)))
        assert json.loads(following.stdout.readline()) == order(1)
        with proxy.refuse():
            proxy.cut()
            wait_until(lambda: proxy.connections == 0, PATIENCE, "the broker is away")
            stocked.runs("produce", "shop:Order", stdin=lines(order(2)))
        assert json.loads(following.stdout.readline()) == order(2)
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=PATIENCE)
    assert following.returncode == ExitStatus.DONE


def test_lines_are_sent_as_they_come_and_ctrl_c_tells_what_was_sent(stocked, kafka):
    sending = stocked.starts("produce", "shop:Order")
    sending.stdin.write(lines(order(1)))
    sending.stdin.flush()
    wait_until(
        lambda: sum(end_offsets(kafka, stocked.topic).values()) == 1, PATIENCE, "it is there"
    )
    sending.send_signal(signal.SIGINT)
    sending.wait(PATIENCE)
    said = sending.stderr.read()
    sending.communicate()
    assert sending.returncode == ExitStatus.INTERRUPTED
    assert f"1 record produced to {stocked.topic}" in said
    assert "Traceback" not in said


def test_a_topic_that_is_not_there_is_status_5(stocked):
    done = stocked.runs("consume", "shop:Order", "--topic", "no-such-topic")
    assert done.status == ExitStatus.REFUSED
    assert "topic no-such-topic: " in done.stderr


def test_a_registry_that_does_not_answer_ends_it_before_a_line_is_read(stocked):
    stocked.environment["SCHEMA_REGISTRY_URL"] = "http://127.0.0.1:9"
    done = stocked.runs("produce", "shop:Order", stdin="")
    assert done.status == ExitStatus.UNREACHABLE
    assert "http://127.0.0.1:9" in done.stderr
