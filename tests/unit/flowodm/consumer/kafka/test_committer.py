"""Each OffsetCommit is answered for once, whatever becomes of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flowodm.consumer.dispatch import Dispatch
from flowodm.consumer.engine.actions import NOTHING_ARRIVED, CommitSettled, CommitWindow
from flowodm.consumer.engine.commit import ANSWER_TIMEOUT, MOST_REFUSALS, CommitStrategy
from flowodm.consumer.engine.offsets import Position
from flowodm.consumer.engine.rules import Rules
from flowodm.consumer.kafka import committer
from flowodm.consumer.kafka.committer import ATTEMPTS_IN_CALLBACK, Committer
from flowodm.events import Committed, Event, Handled, Outcome
from support.engines import SteppedEngine as Engine
from support.fake_records import FakeRecord

TP = ("orders", 0)
METADATA_TOO_LARGE = KafkaError.OFFSET_METADATA_TOO_LARGE


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Broker:
    """Stands in for the client: keeps requests until the test answers them."""

    def __init__(self) -> None:
        self.sent: list[list[TopicPartition]] = []
        self.committed_offset = -1001
        self.takes_requests = True

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous, "the other way has no time-out"
        if not self.takes_requests:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sent.append(offsets)

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        return [TopicPartition(p.topic, p.partition, self.committed_offset) for p in places]


class Desk:
    """A committer between an engine and a broker that the test plays."""

    def __init__(self, strategy: CommitStrategy) -> None:
        self.engine = Engine(Rules(strategy=strategy))
        self.told: list[Committed] = []
        self.lost = 0
        self.errors: list[str] = []
        self.failures: list[BaseException] = []
        self.broker = Broker()
        self.dispatch = Dispatch(self.engine, [self.hear])
        self.committer = Committer(
            self.dispatch,
            lambda error: self.errors.append(error.name()),
            self.failures.append,
        )
        self.committer.use(self.broker)
        self.engine.assigned([TP])

    def hear(self, event: Event) -> None:
        """An observer."""
        if isinstance(event, Committed):
            self.told.append(event)
        elif isinstance(event, Handled):
            self.lost += event.outcomes.get(Outcome.LOST, 0)

    def handle(self, *offsets: int) -> None:
        """These records come, and are handled if they may."""
        self.engine.fetched(TP, [FakeRecord(offset) for offset in offsets])
        self.work()

    def work(self) -> int:
        """Handle what may be handled; returns how much that was."""
        done = 0
        while (run := self.engine.next_run(0.0)) is not None:
            for _ in run.records:
                run.ticks.append(0.0)
                run.done += 1
            done += run.done
            self.engine.finished(run)
        return done

    def turn(self) -> None:
        """Send what the engine wants to be committed, as the poller does."""
        now = committer.time.monotonic()
        self.committer.give_up_overdue(now)
        with self.dispatch as engine:
            turn = engine.turn(NOTHING_ARRIVED, now, paused=False)
        for action in turn.actions:
            match action:
                case CommitSettled(offsets):
                    self.committer.commit(offsets)
                case CommitWindow(window):
                    self.committer.commit_window(window)
                case _:
                    pass

    def answer(self, error: int | None = None) -> None:
        """Answer the oldest request."""
        offsets = self.broker.sent.pop(0)
        self.committer.answered(None if error is None else KafkaError(error), offsets)

    def serve(self, _seconds: float) -> None:
        """A poll in which an answer comes."""
        if self.broker.sent:
            self.answer()


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("flowodm.consumer.kafka.committer.time", clock)
    return clock


@pytest.fixture
def desk() -> Desk:
    return Desk(CommitStrategy.AFTER_PROCESSING)


def test_a_confirmed_commit_is_told_once_with_its_time(desk, clock):
    desk.handle(0, 1, 2)
    desk.turn()
    clock.now += 0.25
    desk.answer()
    desk.turn()

    assert desk.told == [Committed({TP: 3}, None, 0.25)]
    assert desk.broker.sent == []


def test_a_failed_commit_is_told_once_and_sent_again_with_what_was_done_meanwhile(desk, clock):
    desk.handle(0)
    desk.turn()
    desk.answer(KafkaError.REBALANCE_IN_PROGRESS)
    desk.handle(1)
    desk.turn()
    assert desk.broker.sent == [], "not at once"
    clock.now += 1.1
    desk.turn()
    desk.answer()

    assert [(event.offsets, event.error is None) for event in desk.told] == [
        ({TP: 1}, False),
        ({TP: 2}, True),
    ]


def test_a_commit_that_cannot_even_be_sent_is_told_once_and_tried_again(desk, clock):
    desk.handle(0)
    desk.broker.takes_requests = False
    desk.turn()
    desk.broker.takes_requests = True
    clock.now += 1.1
    desk.turn()
    desk.answer()

    assert [event.error is None for event in desk.told] == [False, True]


def test_an_error_of_one_partition_is_an_error_of_the_commit(desk):
    desk.handle(0)
    desk.turn()
    desk.broker.sent.pop()
    refused = SimpleNamespace(
        topic=TP[0],
        partition=TP[1],
        offset=1,
        error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART),
    )
    desk.committer.answered(None, [refused])

    assert len(desk.told) == 1
    assert desk.told[0].error is not None
    assert desk.engine.to_commit() == {TP: Position(1)}


def test_without_an_answer_a_commit_is_given_up_and_told_once_even_if_one_comes_late(desk, clock):
    desk.handle(0)
    desk.turn()
    clock.now += ANSWER_TIMEOUT
    desk.turn()
    assert len(desk.told) == 1
    assert "no answer within 75 s" in desk.told[0].error
    desk.answer()
    assert len(desk.told) == 1
    clock.now += 1.1
    desk.turn()
    desk.answer()

    assert [event.error is None for event in desk.told] == [False, True]


def test_waiting_for_a_commit_polls_and_is_bounded(desk, clock):
    desk.handle(0)
    offsets = desk.engine.to_commit()

    def silence(seconds: float) -> None:
        clock.now += seconds

    assert desk.committer.commit_now(offsets, 2.0, silence) == "no answer within 2.0 s"
    desk.broker.sent.clear()
    assert desk.committer.commit_now(offsets, 2.0, desk.serve) is None
    assert [event.error is None for event in desk.told] == [False, True]


def test_a_second_commit_at_the_end_leaves_none_untold(desk, clock):
    desk.handle(0)
    desk.turn()
    desk.handle(1)
    desk.committer.commit_now(desk.engine.to_commit(), 2.0, clock.sleep)
    desk.committer.close()

    assert [event.offsets for event in desk.told] == [{TP: 1}, {TP: 2}]
    assert all(event.error is not None for event in desk.told)


def test_a_commit_in_a_callback_is_done_when_the_broker_has_it(desk):
    desk.broker.committed_offset = 7

    assert desk.committer.commit_in_callback({TP: Position(7)}, 5.0)
    desk.answer()
    assert desk.told == [Committed({TP: 7}, None, 0.0)]


def test_a_commit_in_a_callback_is_sent_again_a_few_times_and_each_is_told_once(desk):
    desk.broker.committed_offset = 6

    assert not desk.committer.commit_in_callback({TP: Position(7)}, 5.0)
    assert len(desk.broker.sent) == ATTEMPTS_IN_CALLBACK
    desk.answer(KafkaError.ILLEGAL_GENERATION)
    for _ in range(ATTEMPTS_IN_CALLBACK - 1):
        desk.answer()
    assert [event.error is None for event in desk.told] == [False, True, True, True]


def test_a_commit_in_a_callback_has_no_more_time_than_it_is_given(desk, clock):
    desk.broker.committed_offset = 6
    began = clock.now

    assert not desk.committer.commit_in_callback({TP: Position(7)}, 0.07)
    assert clock.now - began <= 0.07 + 1e-6


def test_an_older_request_that_comes_again_behind_a_newer_one_is_made_up_for(desk):
    """The client sends a request again whose connection broke, whatever followed it."""
    desk.handle(0)
    desk.turn()
    seen = iter([2, 1, 2])
    desk.broker.committed = lambda _, timeout: [TopicPartition(*TP, next(seen))]

    assert desk.committer.commit_in_callback({TP: Position(2)}, 5.0)
    assert [request[0].offset for request in desk.broker.sent] == [1, 2, 2]


def test_nothing_is_sent_behind_a_request_that_has_no_answer(desk, clock):
    desk.handle(0)
    desk.turn()

    assert not desk.committer.await_answer(clock.sleep, clock.now + 5.0)
    assert desk.committer.await_answer(desk.serve, clock.now + 5.0)
    assert [event.error for event in desk.told] == [None]


def test_nothing_to_commit_in_a_callback_is_no_request(desk):
    assert desk.committer.commit_in_callback({}, 5.0)
    assert desk.broker.sent == []


def test_a_broker_that_takes_no_notes_gets_the_bare_offset(desk, clock):
    position = Position(1, "flowodm:1:Bg==")
    desk.committer.commit_now({TP: position}, 1.0, lambda _: desk.answer(METADATA_TOO_LARGE))
    clock.now += 1.0
    desk.committer.commit_in_callback({TP: position}, 0.01)

    assert {request[0].metadata or "" for request in desk.broker.sent} == {""}
    assert desk.failures == []


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ],
)
def test_a_refusal_is_not_repeated_for_ever(desk, clock, code):
    desk.handle(0)
    for sent in range(MOST_REFUSALS):
        assert desk.failures == [], f"after {sent} refusals"
        refuse(desk, clock, code)

    (failure,) = desk.failures
    assert "refuses to commit" in str(failure)
    assert len(desk.told) == MOST_REFUSALS


def test_a_rejoin_or_a_confirmed_commit_starts_the_count_of_refusals_anew(desk, clock):
    desk.handle(0)
    for _ in range(3):
        for _ in range(MOST_REFUSALS - 1):
            refuse(desk, clock, KafkaError.UNKNOWN_MEMBER_ID)
        desk.committer.membership_changed()
    for _ in range(MOST_REFUSALS - 1):
        refuse(desk, clock, KafkaError.UNKNOWN_MEMBER_ID)
    assert desk.committer.commit_now(desk.engine.to_commit(), 2.0, desk.serve) is None
    desk.handle(1)
    refuse(desk, clock, KafkaError.UNKNOWN_MEMBER_ID)

    assert desk.failures == []


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
    ],
)
def test_trouble_that_passes_never_ends_the_loop(desk, clock, code):
    desk.handle(0)
    for _ in range(5 * MOST_REFUSALS):
        refuse(desk, clock, code)

    assert desk.failures == []


def refuse(desk: Desk, clock: Clock, code: int) -> None:
    clock.now += 10.0
    desk.turn()
    desk.answer(code)


# ---- before_processing -----------------------------------------------------------------------


@pytest.fixture
def ahead() -> Desk:
    return Desk(CommitStrategy.BEFORE_PROCESSING)


def test_no_handler_starts_before_the_answer_and_no_second_window_is_sent(ahead):
    ahead.handle(0, 1)
    ahead.turn()
    ahead.turn()
    assert ahead.committer.window_under_way
    assert (len(ahead.broker.sent), ahead.work()) == (1, 0)
    ahead.answer()

    assert not ahead.committer.window_under_way
    assert ahead.work() == 1


def test_a_window_that_was_refused_is_sent_again_and_handled_once(ahead, clock):
    ahead.handle(0)
    ahead.turn()
    ahead.answer(KafkaError.REBALANCE_IN_PROGRESS)
    ahead.turn()
    assert (ahead.broker.sent, ahead.work()) == ([], 0)
    clock.now += 0.2
    ahead.turn()
    ahead.answer()

    assert ahead.work() == 1
    assert ahead.engine.quiet()


def test_a_window_without_an_answer_is_sent_again(ahead, clock):
    ahead.handle(0)
    ahead.turn()
    clock.now += ANSWER_TIMEOUT
    ahead.turn()
    ahead.answer()  # late: it is nobody's any more
    assert ahead.work() == 0
    clock.now += 0.2
    ahead.turn()
    ahead.answer()

    assert ahead.work() == 1


def test_a_revoked_window_that_has_arrived_is_handled_and_its_answer_changes_nothing(ahead):
    ahead.handle(0)
    ahead.turn()
    ahead.broker.committed_offset = 1
    ahead.committer.settle_window([TP], 5.0)
    ahead.engine.revoking([TP])

    assert ahead.work() == 1
    assert ahead.engine.quiet([TP])
    ahead.engine.forget([TP])
    ahead.answer()
    assert len(ahead.told) == 1


@pytest.mark.parametrize("error", [None, KafkaError.UNKNOWN_MEMBER_ID])
def test_a_window_whose_partition_has_gone_is_not_handled(ahead, error):
    ahead.handle(0)
    ahead.turn()
    ahead.committer.settle_window([TP], 5.0)  # it has not arrived
    ahead.engine.revoking([TP])
    ahead.engine.forget([TP])
    ahead.answer(error)

    assert ahead.work() == 0
    assert ahead.engine.buffered == 0
    assert ahead.lost == (0 if error else 1)
