"""flowodm dead-letters list and replay, on a real Kafka."""

from __future__ import annotations

import struct

import pytest

from flowodm.cli.process import ExitStatus
from flowodm.consumer.dead_letters import headers as letters
from support.brokers.records import Raw, committed_offsets, end_offsets, produce, read_all
from support.commands.flowodm_command import Shop


def letter(topic: str, offset: int, error: str, *, group: str = "mailer", key: bytes = b"k"):
    module, _, text = error.partition(": ")
    headers = (
        ("trace", b"%d" % offset),
        (letters.TOPIC, topic.encode()),
        (letters.PARTITION, struct.pack(">i", 0)),
        (letters.OFFSET, struct.pack(">q", offset)),
        (letters.GROUP, group.encode()),
        (letters.EXCEPTION, module.encode()),
        (letters.MESSAGE, text.encode()),
        (letters.STACK_TRACE, f"Traceback of {offset}\n".encode()),
    )
    return Raw(b"%d" % offset, key, 0, headers)


@pytest.fixture
def buried(command_host, tmp_path, kafka, new_topic):
    """A shop with four dead letters of its topic; its model has nothing to do with them."""
    shop = Shop(command_host, tmp_path, new_topic(1), KAFKA_BOOTSTRAP_SERVERS=kafka)
    shop.dead = new_topic(1)
    errors = ("shop.MailError: it timed\nout", "ValueError: no mail", "shop.MailError: refused")
    found = [letter(shop.topic, offset, error) for offset, error in enumerate(errors)]
    found.append(letter(shop.topic, 3, "ValueError: it timed out", group="other", key=b"\xff"))
    produce(kafka, shop.dead, found)
    return shop


def test_the_list_is_a_line_for_each(buried):
    done = buried.runs("dead-letters", "list", buried.dead, "--max", "1")
    assert (done.status, done.stderr) == (ExitStatus.DONE, "")
    (line,) = done.stdout.splitlines()
    number, when, *words = line.split(" ")
    assert (number, words[:2]) == ("0/0", [f"{buried.topic}[0]@0", "mailer"])
    assert when.endswith("+00:00")
    assert line.endswith(" shop.MailError: it timed out")

    done = buried.runs("dead-letters", "list", buried.dead, "--stack-trace")
    assert done.stdout.splitlines()[1::2] == [f"Traceback of {offset}" for offset in range(4)]


def test_nothing_in_a_list_commands_the_terminal(buried, kafka):
    produce(kafka, buried.dead, [letter(buried.topic, 4, "Error: \x1b]0;owned\x07 \x9b31m")])
    done = buried.runs("dead-letters", "list", buried.dead, "--of-error", "Error")
    assert r"Error: \x1b]0;owned\x07 \x9b31m" in done.stdout


def test_the_list_as_json_holds_all_of_each(buried):
    *_, last = buried.runs("dead-letters", "list", buried.dead, "--json").lines
    assert last["key"] == {"base64": "/w=="}
    assert last["value"] == "3"
    assert last["original_headers"] == [["trace", "3"]]
    assert (last["original_topic"], last["original_offset"]) == (buried.topic, 3)
    assert (last["exception_class"], last["exception_message"]) == ("ValueError", "it timed out")
    assert (last["group"], last["replays"], last["original_timestamp"]) == ("other", 0, None)


def test_only_those_are_listed_that_are_chosen(buried):
    for options, offsets in {
        "--of-error MailError": [0, 2],
        "--of-error shop.MailError": [0, 2],
        "--of-error Error": [],
        "--of-group other": [3],
        "--of-topic elsewhere": [],
        "--saying out": [0, 3],
        "--saying out --of-group mailer": [0],
        "--of-error ValueError --max 1": [1],
    }.items():
        listed = buried.runs("dead-letters", "list", buried.dead, "--json", *options.split())
        assert [line["offset"] for line in listed.lines] == offsets, options


def test_only_those_are_replayed_that_are_chosen(buried, kafka):
    done = buried.runs("dead-letters", "replay", buried.dead, "--json", "--of-error", "MailError")
    assert done.status == ExitStatus.DONE, done
    assert done.told == {"topic": buried.dead, "count": 2, "left": 2, "complete": True}
    assert [record.value() for record in read_all(kafka, buried.topic)] == [b"0", b"2"]


def test_each_is_put_back_once(buried, kafka):
    first = buried.runs("dead-letters", "replay", buried.dead, "--max", "3")
    assert (
        first.stderr.splitlines()[-1] == "3 replayed, 0 left for another replay; stopped by --max"
    )
    again = buried.runs("dead-letters", "replay", buried.dead)
    assert again.stderr.splitlines()[-1] == "1 replayed, 0 left for another replay"
    assert end_offsets(kafka, buried.topic) == {0: 4}
    assert committed_offsets(kafka, f"{buried.dead}-replay", buried.dead) == {0: 4}


def test_they_can_be_put_elsewhere_in_the_name_of_another_group(buried, kafka, new_topic):
    other = new_topic(1)
    done = buried.runs("dead-letters", "replay", buried.dead, "--to", other, "--group", "mine")
    assert done.status == ExitStatus.DONE
    assert end_offsets(kafka, other) == {0: 4}
    assert committed_offsets(kafka, "mine", buried.dead) == {0: 4}


def test_a_topic_is_not_replayed_to_itself(buried):
    done = buried.runs("dead-letters", "replay", buried.dead, "--to", buried.dead)
    assert done.status == ExitStatus.CONFIGURATION
    assert "to itself" in done.stderr
