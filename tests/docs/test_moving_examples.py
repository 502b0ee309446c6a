"""docs/moving.md: a group that changes hands loses nothing and repeats nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.brokers.records import Raw, create_topic, produce
from support.docs.fenced_blocks import fenced_blocks
from support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "moving.md"
PROGRAMS = {block.file: block.source for block in fenced_blocks(PAGE) if block.file}
PATIENCE = 40.0


@pytest.fixture
def run(kafka, tmp_path, group):
    """``run(name, count)``: let a program of the page charge so many orders, and stop it."""
    create_topic(kafka, group, 1)

    def charge(name, count):
        source = PROGRAMS[name].replace("localhost:9092", kafka)
        source = source.replace('"shop"', repr(group)).replace('"orders"', repr(group))
        (tmp_path / name).write_text(source)
        output = tmp_path / f"{name}.{count}.txt"
        with output.open("w") as file:
            process = subprocess.Popen([sys.executable, name], cwd=tmp_path, stdout=file)
        try:
            wait_until(lambda: len(numbers(output)) >= count, PATIENCE, f"{count} are charged")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
        return numbers(output)

    def orders(first, count):
        values = [json.dumps({"number": n}).encode() for n in range(first, first + count)]
        produce(kafka, group, [Raw(value, None, 0) for value in values])

    charge.orders = orders
    return charge


def numbers(file):
    return [int(n) for n in re.findall(r'"number": ?(\d+)', file.read_text())]


def test_a_group_moves_here_and_back_and_each_order_is_charged_once(run):
    run.orders(0, 10)
    assert run("before.py", 10) == list(range(10))

    run.orders(10, 10)
    assert run("after.py", 10) == list(range(10, 20))

    run.orders(20, 10)
    assert run("before.py", 10) == list(range(20, 30))
