"""A slot goes through its states, in every order of events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.slot.events import (
    Abandon,
    CompleteReplacement,
    DrainBegun,
    Exited,
    Fail,
    Finish,
    HeartbeatReceived,
    Hung,
    ProtocolViolation,
    Released,
    ReplacementRequested,
    ScheduleRestart,
    SendDrain,
    SendDump,
    SendKill,
    SendStart,
    SendTerm,
    Spawn,
    Spawned,
    SpawnFailed,
    StopRequested,
    Tick,
)
from supervisor.slot.machine import (
    FINAL,
    Escalation,
    Slot,
    SlotPolicy,
    SlotState,
    step,
)
from supervisor.slot.restart import ExitClass, ExitCode, RestartMode, RestartPolicy

POLICY = SlotPolicy(
    restart=RestartPolicy(initial=1, jitter=0, limit=2, window=100),
    drain_timeout=30,
    kill_delay=5,
    reap_timeout=10,
)


def drive(*events, policy=POLICY, slot=None):
    """Feed (time, event) pairs; return the slot, and all actions with their times."""
    slot = slot or Slot.new(0.0)
    done = []
    for now, event in events:
        slot, actions = step(slot, event, now, policy)
        done += [(now, action) for action in actions]
    return slot, done


def running():
    return drive(
        (0, Tick()), (0.1, Spawned(4711)), (1, HeartbeatReceived(joined=True, busy=False))
    )[0]


def test_a_new_slot_spawns_at_its_first_tick_and_starts_once_the_process_is_held():
    slot, done = drive((0, Tick()), (0.1, Spawned(4711)))
    assert [action for _, action in done] == [Spawn(), SendStart()]
    assert slot.state is SlotState.STARTING


def test_heartbeats_tell_starting_assigned_and_processing_apart():
    slot, _ = drive(
        (0, Tick()), (0.1, Spawned(4711)), (0.2, HeartbeatReceived(joined=False, busy=False))
    )
    assert slot.state is SlotState.STARTING
    slot, _ = drive((1, HeartbeatReceived(joined=True, busy=False)), slot=slot)
    assert slot.state is SlotState.ASSIGNED
    slot, _ = drive(
        (2, HeartbeatReceived(joined=True, busy=True)),
        (3, HeartbeatReceived(joined=True, busy=True)),
        slot=slot,
    )
    assert (slot.state, slot.since) == (SlotState.PROCESSING, 2)
    slot, _ = drive((4, HeartbeatReceived(joined=False, busy=False)), slot=slot)
    assert slot.state is SlotState.STARTING


def test_a_stop_drains_then_terms_then_kills_each_at_its_deadline():
    slot, done = drive(
        (10, StopRequested()),
        (39.9, Tick()),
        (40, Tick()),
        (44.9, Tick()),
        (45, Tick()),
        slot=running(),
    )
    assert done == [(10, SendDrain()), (40, SendTerm()), (45, SendKill())]
    assert slot.killed
    slot, done = drive((45.1, Exited(-9, 0.5)), slot=slot)
    assert done == [(45.1, Finish(ExitClass.KILLED))]
    assert slot.state is SlotState.GONE


def test_a_process_that_survives_sigkill_is_left_behind_in_the_end():
    slot, done = drive((10, StopRequested(now=True)), (20, Tick()), slot=running())
    assert [action for _, action in done] == [
        SendKill(),
        Abandon(),
        Finish(ExitClass.KILLED),
    ]
    assert slot.state is SlotState.GONE


def test_no_successor_follows_a_process_that_may_still_live():
    slot, done = drive((10, ProtocolViolation("not a frame")), (20, Tick()), slot=running())
    assert [type(action) for _, action in done] == [SendKill, Abandon, Fail]
    assert slot.state is SlotState.FAILED


def test_stop_now_kills_at_once_also_in_the_middle_of_a_drain():
    _, done = drive((10, StopRequested()), (11, StopRequested(now=True)), slot=running())
    assert done == [(10, SendDrain()), (11, SendKill())]


def test_a_crash_backs_off_and_starts_again():
    slot, done = drive((10, Exited(70, 0.5)), (10.9, Tick()), (11, Tick()), slot=running())
    assert done == [(10, ScheduleRestart(ExitClass.CRASH, 1.0)), (11, Spawn())]
    assert slot.state is SlotState.STARTING


def test_too_many_crashes_fail_for_good():
    slot = Slot.new(0.0)
    for now in (0.0, 10.0, 20.0):
        slot, done = drive((now, Tick()), (now + 1, Exited(70, 0.5)), slot=slot)
    assert slot.state is SlotState.FAILED
    assert isinstance(done[-1][1], Fail)


def test_a_wrong_configuration_fails_at_the_first_time():
    slot, _ = drive((10, Exited(ExitCode.CONFIGURATION, 0.5)), slot=running())
    assert slot.state is SlotState.FAILED


def test_a_failed_spawn_is_retried_with_backoff():
    slot, done = drive((0, Tick()), (0.5, SpawnFailed("no memory")))
    assert done[-1] == (0.5, ScheduleRestart(ExitClass.SPAWN, 1.0))
    assert slot.state is SlotState.BACKING_OFF


def test_a_stop_while_backing_off_needs_no_process():
    slot, done = drive((10, Exited(70, 0.5)), (10.5, StopRequested()), slot=running())
    assert done[-1] == (10.5, Finish(ExitClass.DONE))
    assert slot.state is SlotState.GONE


def test_a_stop_before_the_process_is_held_never_starts_it():
    _, done = drive((0, Tick()), (0.1, StopRequested()), (0.2, Spawned(4711)))
    assert [action for _, action in done] == [Spawn(), SendDrain()]


def test_a_worker_that_drains_by_itself_is_bounded_and_followed_by_another():
    _, done = drive((10, DrainBegun()), (20, Exited(0, 0.5)), slot=running())
    assert done == [(20, ScheduleRestart(ExitClass.DONE, 1.0))]
    _, done = drive((10, DrainBegun()), (40, Tick()), slot=running())
    assert done == [(40, SendTerm())]


def test_a_clean_end_stays_one_if_the_policy_says_on_failure():
    policy = SlotPolicy(restart=RestartPolicy(mode=RestartMode.ON_FAILURE))
    slot, done = drive((10, Exited(0, 0.5)), slot=running(), policy=policy)
    assert (slot.state, done) == (SlotState.GONE, [(10, Finish(ExitClass.DONE))])


def test_the_length_of_a_drain_is_known_after_the_end():
    slot, _ = drive((10, StopRequested()), (12, Exited(0, 0.5)), slot=running())
    assert slot.drain_began == 10


events = st.one_of(
    st.just(Tick()),
    st.just(Spawned(4711)),
    st.builds(SpawnFailed, st.just("no memory"), st.floats(0, 0.99)),
    st.builds(HeartbeatReceived, st.booleans(), st.booleans()),
    st.just(DrainBegun()),
    st.just(ProtocolViolation("not a frame")),
    st.builds(StopRequested, st.booleans()),
    st.builds(ReplacementRequested, st.just(ExitClass.RELOADED), st.booleans()),
    st.just(Released()),
    st.just(Hung(ExitClass.HUNG)),
    st.builds(Exited, st.sampled_from([None, 0, 1, 65, 70, 75, 78, -9, -15]), st.floats(0, 0.99)),
)


@given(st.lists(st.tuples(st.floats(0, 20), events), max_size=60))
def test_in_any_order_of_events_the_machine_never_fails_and_a_final_state_is_final(steps):
    slot, now = Slot.new(0.0), 0.0
    for pause, event in steps:
        now += pause
        before = slot
        slot, actions = step(slot, event, now, POLICY)
        if before.state in FINAL and not (
            isinstance(event, ReplacementRequested) and before.wanted
        ):
            assert (slot, actions) == (replace(before, wanted=slot.wanted), ())
        assert slot.deadline is None or slot.deadline >= slot.since
        if slot.state is SlotState.DRAINING:
            assert slot.deadline is not None, "a drain without a deadline could last for ever"
        if slot.state is SlotState.BACKING_OFF:
            assert (slot.deadline is None) == slot.hold, "what has no deadline must be released"
            assert slot.escalation is Escalation.NONE, "what was done to the last process"


class World(RuleBasedStateMachine):
    """A slot with a process that may behave in any possible way, while time goes on."""

    @initialize()
    def begin(self):
        self.now = 0.0
        self.slot = Slot.new(0.0)
        self.alive = False
        self.spawned = False
        self.was_started = False
        self.stopped = False
        self.held = False

    def feed(self, event):
        was_final = self.slot.state in FINAL
        self.slot, actions = step(self.slot, event, self.now, POLICY)
        for action in actions:
            if isinstance(action, Spawn):
                assert not self.alive, "two processes in one slot"
                assert not self.stopped, "a start after the stop"
                assert not was_final
                assert not self.held, "a start before the release"
                self.alive, self.spawned, self.was_started = True, False, False
            elif isinstance(action, SendStart):
                assert self.alive
                assert not self.was_started, "got two Start frames"
                self.was_started = True
            elif isinstance(action, SendDump | SendDrain | SendTerm | SendKill):
                assert self.alive, "a signal for a dead process"
            elif isinstance(action, Abandon):
                self.alive = False

    @rule(seconds=st.floats(0.01, 40))
    def time_passes(self, seconds):
        self.now += seconds
        self.feed(Tick())

    @precondition(lambda self: self.alive and not self.spawned)
    @rule()
    def the_fork_server_forks(self):
        self.spawned = True
        self.feed(Spawned(4711))

    @precondition(lambda self: self.alive and not self.spawned)
    @rule()
    def the_fork_server_dies(self):
        self.alive = False
        self.feed(SpawnFailed("no memory"))

    @precondition(lambda self: self.alive and self.was_started)
    @rule(joined=st.booleans(), busy=st.booleans())
    def a_heartbeat_comes(self, joined, busy):
        self.feed(HeartbeatReceived(joined, busy))

    @precondition(lambda self: self.alive and self.was_started)
    @rule(event=st.sampled_from([DrainBegun(), ProtocolViolation("not a frame")]))
    def the_worker_surprises(self, event):
        self.feed(event)

    @precondition(lambda self: self.alive and self.spawned)
    @rule(status=st.sampled_from([0, 70, 75, 78, -9, -11, None]))
    def the_process_dies(self, status):
        self.alive = False
        self.feed(Exited(status, 0.5))

    @precondition(lambda self: self.alive and self.was_started)
    @rule()
    def the_worker_hangs(self):
        self.feed(Hung(ExitClass.HUNG))

    @rule(hold=st.booleans())
    def the_operator_replaces(self, hold):
        self.held = hold and not self.stopped
        self.feed(ReplacementRequested(ExitClass.RESTARTED, hold))

    @rule()
    def the_operator_releases(self):
        self.held = False
        self.feed(Released())

    @rule(now=st.booleans())
    def the_operator_stops(self, now):
        self.stopped = True
        self.feed(StopRequested(now))

    @invariant()
    def a_stopped_slot_ends_within_its_deadlines(self):
        if not getattr(self, "stopped", False):
            return
        slot, now = self.slot, self.now
        for _ in range(5):
            if slot.state in FINAL:
                break
            assert slot.deadline is not None
            now = max(now, slot.deadline)
            slot, _ = step(slot, Tick(), now, POLICY)
        assert slot.state in FINAL
        limit = POLICY.dump_delay + POLICY.drain_timeout + POLICY.kill_delay + POLICY.reap_timeout
        assert now - self.now <= limit + 1e-9

    @invariant()
    def a_final_slot_has_no_process(self):
        if hasattr(self, "slot") and self.slot.state in FINAL:
            assert not self.alive


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_replaced_worker_drains_and_its_successor_starts_at_once():
    slot, done = drive(
        (10, ReplacementRequested(ExitClass.RELOADED)), (12, Exited(0, 0.5)), slot=running()
    )

    assert [action for _, action in done] == [
        SendDrain(),
        CompleteReplacement(ExitClass.RELOADED, 2),
    ]
    assert (slot.state, slot.deadline) == (SlotState.BACKING_OFF, 12)
    assert drive((12, Tick()), slot=slot)[1] == [(12, Spawn())]


def test_replacements_never_count_as_failures():
    slot = running()
    for now in range(10, 100, 10):
        slot, _ = drive(
            (now, ReplacementRequested(ExitClass.RECYCLED)),
            (now + 1, Exited(0, 0.5)),
            (now + 1, Tick()),
            (now + 1, Spawned(4711)),
            (now + 2, HeartbeatReceived(joined=True, busy=False)),
            slot=slot,
        )
    assert slot.state is SlotState.ASSIGNED
    assert slot.history.ends == ()


def test_a_held_slot_starts_when_it_is_released_and_not_before():
    held = ReplacementRequested(ExitClass.RELOADED, hold=True)
    slot, done = drive((10, held), (12, Exited(0, 0.5)), (99, Tick()), slot=running())
    assert not any(isinstance(action, Spawn) for _, action in done)

    assert drive((100, Released()), (100, Tick()), slot=slot)[1] == [(100, Spawn())]


def test_a_release_before_the_end_of_the_old_process_waits_for_that_end():
    held = ReplacementRequested(ExitClass.RELOADED, hold=True)
    _, done = drive(
        (10, held), (11, Released()), (11, Tick()), (12, Exited(0, 0.5)), (12, Tick()),
        slot=running(),
    )  # fmt: skip
    assert [when for when, action in done if isinstance(action, Spawn)] == [12]


def test_a_slot_that_failed_for_good_is_tried_again_when_somebody_asks():
    slot, _ = drive((10, Exited(78, 0.5)), slot=running())
    assert slot.state is SlotState.FAILED

    assert drive((20, ReplacementRequested(ExitClass.RELOADED)), (20, Tick()), slot=slot)[1] == [
        (20, Spawn())
    ]


def test_a_slot_whose_process_the_kernel_keeps_is_never_tried_again():
    ticks = [(now, Tick()) for now in (40, 45, 55)]
    slot, _ = drive((10, ReplacementRequested(ExitClass.RESTARTED)), *ticks, slot=running())
    assert slot.state is SlotState.FAILED

    assert drive((60, ReplacementRequested(ExitClass.RESTARTED)), (60, Tick()), slot=slot) == (
        slot,
        [],
    )


def test_a_worker_that_hangs_is_dumped_drained_terminated_killed_and_replaced():
    slot, done = drive(
        (10, Hung(ExitClass.HUNG)), (10.9, Tick()), (11, Tick()), (41, Tick()), (46, Tick()),
        (47, Exited(-9, 0.5)), slot=running(),
    )  # fmt: skip
    assert done == [
        (10, SendDump()),
        (11, SendDrain()),
        (41, SendTerm()),
        (46, SendKill()),
        (47, ScheduleRestart(ExitClass.HUNG, 1)),
    ]
    assert slot.state is SlotState.BACKING_OFF


def test_a_worker_that_hung_before_its_planned_replacement_counts_as_hung():
    slot, done = drive(
        (10, Hung(ExitClass.HUNG)), (10.5, ReplacementRequested(ExitClass.RELOADED, hold=True)),
        (12, Exited(0, 0.5)), slot=running(),
    )  # fmt: skip
    assert done == [(10, SendDump()), (12, CompleteReplacement(ExitClass.HUNG, 2))]
    assert slot.hold


@pytest.mark.parametrize("state", sorted(FINAL, key=str))
def test_nothing_happens_in_a_final_state(state):
    slot = running().to(state, 5.0)
    assert step(slot, StopRequested(now=True), 6.0, POLICY) == (replace(slot, wanted=False), ())


def test_a_slot_that_failed_for_good_is_not_tried_again_once_the_fleet_stops():
    slot, _ = drive((10, Exited(78, 0.5)), (11, StopRequested()), slot=running())

    assert drive((20, ReplacementRequested(ExitClass.RELOADED)), slot=slot) == (slot, [])
