"""What produce_nowait has sent is waited for when its program ends, with a bound."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from support.brokers.records import end_offsets, read_all

PROGRAM = """
import multiprocessing, sys, time
import flowodm.connection.clients
from flowodm import FlowBaseModel, connect

class Number(FlowBaseModel):
    class Settings:
        topic = {topic!r}
    n: int

def send():
    connect({kafka!r}, producer_config={{"linger.ms": 200, "log_level": 0}})
    for n in range(1_000):
        Number(n=n).produce_nowait()

if __name__ == "__main__":
    {main}
"""


def run(kafka: str, topic: str, main: str) -> subprocess.CompletedProcess[str]:
    source = PROGRAM.format(kafka=kafka, topic=topic, main=main)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", source],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.mark.parametrize(
    "main",
    [
        "send()",
        "p = multiprocessing.get_context('fork').Process(target=send); p.start(); p.join()",
    ],
    ids=["program", "child"],
)
def test_all_is_delivered_before_the_process_ends(kafka, new_topic, main):
    topic = new_topic(1)
    run(kafka, topic, main)
    assert end_offsets(kafka, topic) == {0: 1_000}
    assert len(read_all(kafka, topic)) == 1_000


def test_without_a_broker_it_ends_in_time_and_says_how_many_messages_are_lost():
    started = time.monotonic()
    done = run("127.0.0.1:1", "numbers", "flowodm.connection.clients.FLUSH_TIMEOUT = 0.3; send()")
    assert time.monotonic() - started < 30
    assert "1000 messages were not delivered within 0.3 s and are dropped" in done.stderr
    assert "topic numbers: a message that no caller waits for was not delivered" in done.stderr
