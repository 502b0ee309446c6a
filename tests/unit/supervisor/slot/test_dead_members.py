"""Who may still be in the group although its process is dead."""

from __future__ import annotations

import pytest

from supervisor.slot.dead_members import DeadMembers
from supervisor.slot.restart import ExitCode

KILLED = -9


def test_a_killed_member_is_for_its_successor_to_evict_until_that_one_has_joined():
    departed = DeadMembers().after("one", KILLED)

    assert departed.dead == ("one",)
    assert departed.succeeded() == DeadMembers()


def test_members_of_successors_that_never_joined_are_added():
    departed = DeadMembers().after("one", KILLED).after(None, KILLED).after("two", None)

    assert departed.dead == ("one", "two")


def test_no_more_than_eight_are_remembered_the_latest_of_them():
    departed = DeadMembers()
    for number in range(20):
        departed = departed.after(f"member-{number}", KILLED)

    assert departed.dead == tuple(f"member-{number}" for number in range(12, 20))


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.RECORD, ExitCode.ABANDONED])
def test_who_closed_its_consumer_has_left_by_itself(code):
    assert DeadMembers().after("one", code).dead == ()


@pytest.mark.parametrize("code", [ExitCode.CRASH, ExitCode.ORPHANED, ExitCode.FENCED, None])
def test_who_ended_in_another_way_may_be_a_member_still(code):
    assert DeadMembers().after("one", code).dead == ("one",)


def test_where_no_successor_follows_a_static_member_is_removed_however_it_ended():
    departed = DeadMembers().after("one", KILLED).after("two", ExitCode.DONE)

    assert departed.to_remove(static=True) == ["one", "two"]
    assert departed.to_remove(static=False) == ["one"]
