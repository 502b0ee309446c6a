"""The time lines of docs/guarantees.md; hung and frozen members have files of their own."""

from __future__ import annotations

import signal

import pytest

from support.fleets.fleets import killed_in_the_end, until_dead
from support.fleets.real_fleets import RealFleet, produce_orders
from support.members import Members

# Half a minute of work: more than a second member takes to start on a busy machine.
RECORDS = 6_000
AT_LEAST_ONCE = {"commit_strategy": "after_processing"}
FLEET = """
[consumers.orders]
model = "shop:Order"
handler = "shop:handle_slowly"
workers = 2
commit_strategy = "after_processing"
"""


@pytest.fixture
def members(new_bench, tmp_path):
    """A group of static members, and a topic with records for some seconds."""
    bench = new_bench(partitions=2)
    bench.produce(range(RECORDS), partition=lambda n: n % 2)
    with Members(bench, tmp_path, "cooperative", static=True, **AT_LEAST_ONCE) as members:
        yield members


def finish(members):
    """Let all that there is be handled and committed by whoever is there."""
    members.hurry()
    members.until_committed()
    assert members.numbers() == set(range(RECORDS))
    assert members.offsets_went_back() == []


def test_a_killed_member_repeats_what_it_settled_since_its_last_commit_and_had_in_hand(members):
    first = members.start("a.1").until_assigned().until_handled(100)
    members.kill(first)
    confirmed = {}
    for kind, _, *what in first.lines():
        if kind == "committed":
            confirmed[int(what[0])] = int(what[1])

    members.start("a.2").until_assigned()
    finish(members)

    repeated = members.repeated()
    assert repeated, "it had committed up to 0.2 s ago, and handles 200 records a second"
    assert all(again.offset >= confirmed.get(again.partition, 0) for _, again in repeated)


def test_a_member_that_is_told_to_end_repeats_nothing(members):
    members.start("a.1").until_assigned().until_handled(100).stop()

    members.start("a.2").until_assigned()
    finish(members)

    assert members.repeated() == []


def test_a_partition_that_moves_repeats_nothing(members):
    members.start("a.1").until_assigned().until_handled(100)

    members.start("b.1").until_assigned().until_handled(20)
    finish(members)

    assert members.repeated() == []


def test_a_killed_supervisor_repeats_nothing(kafka, topic, tmp_path):
    produce_orders(kafka, topic, 6000)
    (folder := tmp_path / "first").mkdir()
    with RealFleet(folder, kafka, topic, FLEET) as fleet:
        fleet.until_handled(200)
        pids = [slot["pid"] for slot in fleet.slots()]
        with killed_in_the_end(pids):
            fleet.process.send_signal(signal.SIGKILL)
            until_dead(pids, timeout=30)
        handled = fleet.handled()
    assert 0 < len(handled) < 6000

    (folder := tmp_path / "second").mkdir()
    with RealFleet(folder, kafka, topic, FLEET) as fleet:
        fleet.until_handled(6000 - len(handled))
        assert fleet.stop() == 0
        handled += fleet.handled()

    assert handled == dict.fromkeys(range(6000), 1)
