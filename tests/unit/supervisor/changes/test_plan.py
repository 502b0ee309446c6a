"""A plan is the difference between what runs and what is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.changes.plan import plan
from supervisor.fleet.slot_spec import SlotKey, SlotSpec
from supervisor.protocol import Identity, Logging, Start
from supervisor.slot.machine import SlotPolicy


def wanted(key: SlotKey, *, policy=None, **consumer) -> SlotSpec:
    start = Start(
        identity=Identity("test", key.consumer, key.index),
        consumer=consumer,
        kafka={},
        secrets=[],
        logging=Logging(),
        drain_timeout=30.0,
    )
    return SlotSpec(start, policy or SlotPolicy())


def slots(**consumers) -> dict[SlotKey, SlotSpec]:
    """Of name to (count, options), or to (list of partition lists, options)."""
    made = {}
    for name, (how_many, options) in consumers.items():
        groups = [None] * how_many if isinstance(how_many, int) else how_many
        for index, partitions in enumerate(groups):
            pinned = {} if partitions is None else {"partitions": partitions}
            key = SlotKey(name, index)
            made[key] = wanted(key, **options, **pinned)
    return made


def names(keys) -> list[str]:
    return sorted(map(str, keys))


OLD = {"handler": "shop:old"}
NEW = {"handler": "shop:new"}


def test_the_same_configuration_changes_nothing():
    assert plan(slots(orders=(2, OLD)), slots(orders=(2, OLD))).nothing


def test_only_the_consumer_that_changed_is_replaced_one_slot_at_a_time():
    made = plan(slots(orders=(2, OLD), mail=(2, OLD)), slots(orders=(2, NEW), mail=(2, OLD)))

    assert [names(step) for step in made.steps] == [["orders/0"], ["orders/1"]]
    assert (made.added, made.removed) == ((), ())


def test_another_number_of_workers_only_adds_or_removes_the_last_ones():
    two, four = slots(orders=(2, OLD)), slots(orders=(4, OLD))

    assert names(plan(two, four).added) == ["orders/2", "orders/3"]
    assert names(plan(four, two).removed) == ["orders/2", "orders/3"]
    assert plan(two, four).steps == plan(four, two).steps == ()


def test_another_restart_policy_replaces_no_process():
    key = SlotKey("orders", 0)
    patient = SlotPolicy(kill_delay=99.0)

    assert plan({key: wanted(key)}, {key: wanted(key, policy=patient)}).nothing


@pytest.mark.parametrize(
    ("before", "after", "together"),
    [
        ([[0, 1], [2, 3]], [[0, 2], [1, 3]], ["orders/0", "orders/1"]),
        ([[0, 1]], [[0], [1]], ["orders/0", "orders/1"]),
        ([[0], [1]], [[0, 1]], ["orders/0", "orders/1"]),
        ([[0], [1], [2]], [[0], [2], [1]], ["orders/1", "orders/2"]),
    ],
)
def test_slots_that_hand_pinned_partitions_to_each_other_are_replaced_together(
    before, after, together
):
    made = plan(slots(orders=(before, OLD)), slots(orders=(after, OLD)))

    assert [names(step) for step in made.steps] == [together]


def test_nobody_waits_where_pinned_partitions_only_come_or_only_go():
    two, three = slots(orders=([[0], [1]], OLD)), slots(orders=([[0], [1], [2]], OLD))

    assert plan(two, three).steps == plan(three, two).steps == ()
    assert names(plan(two, three).added) == names(plan(three, two).removed) == ["orders/2"]


def test_pinned_slots_that_keep_their_partitions_are_replaced_one_by_one():
    groups = [[0, 1], [2, 3]]

    made = plan(slots(orders=(groups, OLD)), slots(orders=(groups, NEW)))

    assert [names(step) for step in made.steps] == [["orders/0"], ["orders/1"]]


groups = st.lists(st.lists(st.integers(0, 5), min_size=1, unique=True), max_size=4).filter(
    lambda lists: len({n for one in lists for n in one}) == sum(map(len, lists))
)


@given(before=groups, after=groups, changed=st.booleans())
def test_no_partition_is_ever_in_two_processes_at_once(before, after, changed):
    running = slots(orders=(before, OLD))
    target = slots(orders=(after, NEW if changed else OLD))
    made = plan(running, target)

    holds = {key: what.pinned for key, what in running.items()}
    in_steps = {key for step in made.steps for key in step}
    for key in made.removed:
        if key not in in_steps:
            del holds[key]
    for step in made.steps:
        for key in step:  # the old ones end first
            holds.pop(key, None)
        for key in step & target.keys():
            assert not any(target[key].pinned & held for held in holds.values())
            holds[key] = target[key].pinned
    for key in made.added:
        if key not in in_steps:
            assert not any(target[key].pinned & held for held in holds.values())
            holds[key] = target[key].pinned
    assert holds == {key: what.pinned for key, what in target.items()}
