"""Members of dead processes are remembered until a successor has joined."""

from __future__ import annotations

import pytest

from supervisor.slot.dead_members import DeadMembers
from supervisor.slot.restart import ExitCode

KILLED = -9


def test_a_killed_member_is_for_its_successor_to_evict_until_that_one_has_joined():
    members = DeadMembers().after("one", KILLED)

    assert members.dead == ("one",)
    assert members.succeeded() == DeadMembers()


def test_members_of_successors_that_never_joined_are_added():
    members = DeadMembers().after("one", KILLED).after(None, KILLED).after("two", None)

    assert members.dead == ("one", "two")


def test_no_more_than_eight_are_remembered_the_latest_of_them():
    members = DeadMembers()
    for number in range(20):
        members = members.after(f"member-{number}", KILLED)

    assert members.dead == tuple(f"member-{number}" for number in range(12, 20))


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.RECORD, ExitCode.ABANDONED])
def test_who_closed_its_consumer_has_left_by_itself(code):
    assert DeadMembers().after("one", code).dead == ()


@pytest.mark.parametrize("code", [ExitCode.CRASH, ExitCode.ORPHANED, ExitCode.FENCED, None])
def test_who_ended_in_another_way_may_be_a_member_still(code):
    assert DeadMembers().after("one", code).dead == ("one",)


def test_where_no_successor_follows_a_static_member_is_removed_however_it_ended():
    members = DeadMembers().after("one", KILLED).after("two", ExitCode.DONE)

    assert members.to_remove(static=True) == ["one", "two"]
    assert members.to_remove(static=False) == ["one"]
