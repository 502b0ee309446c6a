"""What who supervises a loop needs to know: its id in the group, and the moment before it joins."""

from __future__ import annotations

import contextlib
import time

import pytest

from flowodm.events import LoopStatus
from support.brokers.clients import admin_client
from support.loops import BOTH, PATIENCE
from support.waiting import wait_until

PROTOCOLS = {"classic": {}, "kip848": {"group.protocol": "consumer"}}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", BOTH)
def test_a_member_tells_the_id_that_its_group_knows_it_by(new_bench, kind, protocol):
    bench = new_bench()
    with bench.run(kind, print, consumer_config=PROTOCOLS[protocol]) as running:
        running.joined(1)

        admin = admin_client(bench.kafka)
        described = admin.describe_consumer_groups([bench.group])[bench.group].result(PATIENCE)
        assert running.status().member_id == described.members[0].member_id
        told = [status.member_id for status in running.events.of(LoopStatus) if status.joined]
        assert set(told) == {running.status().member_id}
        running.stop()


def test_a_kip848_member_without_a_partition_is_known_to_have_joined_within_a_poll(new_bench):
    """librdkafka calls nobody for an empty assignment: it has to be asked, more than once a second.

    The quickest of four is looked at, which without that takes a second too.
    """
    bench, seconds = new_bench(partitions=1), []
    with contextlib.ExitStack() as members:
        for _ in range(5):
            began = time.monotonic()
            running = bench.run("sync", print, consumer_config=PROTOCOLS["kip848"])
            members.enter_context(running)
            wait_until(lambda: running.status().joined, PATIENCE, "it has joined")  # noqa: B023 - called at once
            seconds.append(time.monotonic() - began)
    assert min(seconds[1:]) < 0.8


def test_pinned_partitions_make_no_member(new_bench):
    bench = new_bench()
    with bench.run("sync", print, partitions=[0]) as running:
        running.joined(1)

        assert running.status().member_id is None
        running.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_before_join_is_called_while_nothing_is_assigned(new_bench, protocol):
    bench, seen = new_bench(), []
    running = bench.run("sync", print, consumer_config=PROTOCOLS[protocol])
    running.loop.before_join = lambda: seen.append(running.status())
    with running:
        running.joined(1)
        running.stop()

    [status] = seen
    assert not status.joined
    # Under KIP-848 a member makes its id itself, so that it is known before anybody can be fenced.
    assert (status.member_id is None) == (protocol == "classic")


def test_what_before_join_raises_ends_the_loop(new_bench):
    def refuse() -> None:
        raise LookupError("not today")

    running = new_bench().run("sync", print)
    running.loop.before_join = refuse
    with running, pytest.raises(LookupError, match="not today"):
        running.end()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_asking_the_group_takes_nothing_from_a_member(new_bench, protocol):
    bench, handled = new_bench(), []
    with bench.run(
        "sync", lambda m: handled.append(m.n), consumer_config=PROTOCOLS[protocol]
    ) as running:
        running.joined(1)
        before = running.events.rebalances()

        running.loop.ask_group()
        bench.produce(range(100))

        wait_until(lambda: len(handled) == 100, PATIENCE, "every record is handled")
        assert running.events.rebalances() == before
        running.stop()
