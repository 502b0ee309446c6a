"""Workers are replaced one after the other; a change that does not work halts the rollout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.changes.rollout import BeginReplacement, ReleaseSlot, Rollout, SlotView, advance
from supervisor.fleet.slot_spec import SlotKey
from supervisor.slot.restart import ExitClass

A, B, C = (SlotKey("orders", n) for n in range(3))
PATIENCE = 60.0
REASON = ExitClass.RELOADED


def rollout(*steps) -> Rollout:
    return Rollout().then([frozenset(step) for step in steps], REASON)


def view(process=1, at_work=True, over=False) -> SlotView:
    return SlotView(process, at_work, over)


def test_the_first_one_begins_alone():
    going, orders = advance(rollout({A}, {B}), {A: view(), B: view()}, 0.0, PATIENCE)

    assert orders == (BeginReplacement(A, REASON, hold=False),)
    assert going.under_way


@pytest.mark.parametrize(
    "successor",
    [
        view(process=1),  # still the old one
        view(process=0, at_work=False),
        view(process=2, at_work=False),
    ],
)
def test_the_next_one_waits_until_the_successor_is_at_work(successor):
    views = {A: view(), B: view()}
    going, _ = advance(rollout({A}, {B}), views, 0.0, PATIENCE)

    going, orders = advance(going, {**views, A: successor}, 10.0, PATIENCE)
    assert orders == ()

    going, _ = advance(going, {**views, A: view(process=2)}, 11.0, PATIENCE)
    _, orders = advance(going, {**views, A: view(process=2)}, 11.0, PATIENCE)
    assert orders == (BeginReplacement(B, REASON, hold=False),)


@pytest.mark.parametrize(
    ("late", "now", "why"),
    [
        (view(process=2, at_work=False), PATIENCE, "orders/0: not at work within 60 s"),
        (view(process=0, at_work=False, over=True), 1.0, "orders/0: failed for good"),
    ],
)
def test_a_successor_that_does_not_work_halts_it_before_it_reaches_the_others(late, now, why):
    views = {A: view(), B: view()}
    going, _ = advance(rollout({A}, {B}), views, 0.0, PATIENCE)

    halted, orders = advance(going, {**views, A: late}, now, PATIENCE)

    assert (halted.halted, orders, halted.under_way) == (why, (), False)


def test_slots_of_one_step_end_together_before_any_successor_starts():
    views = {A: view(), B: view()}
    going, orders = advance(rollout({A, B}), views, 0.0, PATIENCE)
    assert orders == (
        BeginReplacement(A, REASON, hold=True),
        BeginReplacement(B, REASON, hold=True),
    )

    going, orders = advance(going, {A: view(process=0), B: view()}, 1.0, PATIENCE)
    assert orders == ()

    none = view(process=0, at_work=False)
    going, orders = advance(going, {A: none, B: none}, 2.0, PATIENCE)
    assert orders == (ReleaseSlot(A), ReleaseSlot(B))


def test_a_slot_that_is_new_holds_nobody_up_and_waits_with_the_others():
    none = view(process=0, at_work=False)
    going, _ = advance(rollout({A, B}), {A: view(), B: none}, 0.0, PATIENCE)

    going, orders = advance(going, {A: none, B: none}, 1.0, PATIENCE)
    assert orders == (ReleaseSlot(A), ReleaseSlot(B))


def test_a_slot_that_is_gone_holds_nobody_up():
    going, _ = advance(rollout({A}, {B}), {A: view(), B: view()}, 0.0, PATIENCE)

    going, _ = advance(going, {B: view()}, 1.0, PATIENCE)
    _, orders = advance(going, {B: view()}, 1.0, PATIENCE)

    assert orders == (BeginReplacement(B, REASON, hold=False),)


def test_what_waits_already_is_not_replaced_twice():
    more = rollout({A}, {B}).then([frozenset({B}), frozenset({C})], ExitClass.RECYCLED)

    assert [waiting.step for waiting in more.waiting] == [{A}, {B}, {C}]


def test_steps_that_are_planned_anew_are_left_out_and_others_stay():
    mixed = rollout({A}).then([frozenset({B})], ExitClass.RESTARTED)

    assert mixed.except_for(REASON).slots == {B}


@given(st.data())
def test_it_ends_and_never_has_two_steps_under_way(data):
    keys = [SlotKey("orders", n) for n in range(6)]
    steps = [{key} for key in keys[:3]] + [set(keys[3:])]
    going = rollout(*data.draw(st.permutations(steps)))
    processes = dict.fromkeys(keys, 1)
    holding, number, now = set(), 1, 0.0
    for _ in range(200):
        if not going.under_way:
            break
        views = {key: view(process, at_work=process > 0) for key, process in processes.items()}
        going, orders = advance(going, views, now, PATIENCE)
        for order in orders:
            number += 1
            if isinstance(order, BeginReplacement):
                assert order.key in (going.current or ())
                processes[order.key] = 0 if order.hold else number
                holding |= {order.key} if order.hold else set()
            else:
                holding.discard(order.key)
                processes[order.key] = number
        now += 1.0
    assert not going.under_way
    assert not going.halted
    assert not holding
    assert all(process > 1 for process in processes.values())
