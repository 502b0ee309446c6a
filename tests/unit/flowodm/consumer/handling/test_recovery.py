"""What follows a failure is decided by the engine, and done through the loop's calls."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.blocking import run_synchronously
from flowodm.consumer.dead_letters.topic import LoopEndedError
from flowodm.consumer.engine.retry import CallErrorHandler, Retry, SendToDeadLetters, Skip, Stop
from flowodm.consumer.handling.attempt import FailedAttempt
from flowodm.consumer.handling.recipe import Recipe
from flowodm.consumer.handling.recovery import recover
from flowodm.events import Outcome, Stage
from flowodm.exceptions import ProducerError, RecordError, SchemaRegistryError


class Calls:
    """Makes each call at once."""

    async def run_blocking(self, function, *args):
        function(*args)

    async def run_user_code(self, function, *args):
        function(*args)


class Dispatch:
    """Decides always the same, and records what it is told."""

    def __init__(self, verdict):
        self.verdict = verdict
        self.stages, self.events = [], []
        self.gave_up_at = self.left_run = None

    def failed(self, _run, stage, _error, *, last_attempt=False):
        self.stages.append(stage)
        return self.verdict

    def tell(self, event):
        self.events.append(event)

    def gave_up(self, run, together):
        self.gave_up_at = run.done, together

    def left(self, run):
        self.left_run = run


class Bench:
    """One record whose attempt has failed, and what becomes of it."""

    def __init__(self, verdict, **functions):
        self.ended_by = []
        functions = {"decode": bytes, "load_schema": print, "call": print, **functions}
        self.recipe = Recipe(**functions, give_up=self.ended_by.append, recover=recover)
        self.dispatch = Dispatch(verdict)
        self.run = SimpleNamespace(
            done=0,
            records=[SimpleNamespace(offset=lambda: 41)],
            partition=SimpleNamespace(tp=("orders", 3)),
            outcomes={},
            ticks=[],
        )

    def recover(self, error=None, stage=Stage.HANDLER):
        failure = FailedAttempt(stage, error or ValueError("no"), "the message")
        recovery = recover(self.recipe, self.dispatch, Calls(), run=self.run, failure=failure)
        return run_synchronously(recovery)


def raising(error):
    def call(*_args):
        raise error

    return call


def test_a_missing_schema_is_loaded_and_the_record_is_decoded_again():
    loaded = []
    bench = Bench(Skip(), load_schema=loaded.append)

    assert bench.recover(SchemaNotLoadedError(7), Stage.DESERIALIZE)

    assert loaded == [7]
    assert (bench.run.done, bench.dispatch.stages) == (0, [])


def test_a_registry_that_does_not_answer_is_a_failure_of_its_own_stage():
    bench = Bench(Retry(1.0), load_schema=raising(SchemaRegistryError("no answer")))

    assert not bench.recover(SchemaNotLoadedError(7), Stage.DESERIALIZE)

    assert bench.dispatch.stages == [Stage.REGISTRY]


def test_a_record_that_is_skipped_is_settled():
    bench = Bench(Skip())

    assert bench.recover()

    assert (bench.run.done, bench.run.outcomes) == (1, {0: Outcome.SKIPPED})


def test_the_error_handler_gets_error_record_and_message():
    calls = []
    bench = Bench(CallErrorHandler(), error_handler=lambda *args: calls.append(args))
    error = ValueError("no")

    assert bench.recover(error)

    assert calls == [(error, bench.run.records[0], "the message")]
    assert bench.run.outcomes == {0: Outcome.ERROR_HANDLED}


def test_a_record_is_settled_as_a_dead_letter_after_its_acknowledgement():
    bench = Bench(SendToDeadLetters(), dead_letter=print, dead_letter_topic="orders.DLT")

    assert bench.recover()

    (event,) = bench.dispatch.events
    assert (event.topic, event.partition, event.offset) == ("orders", 3, 41)
    assert bench.run.outcomes == {0: Outcome.DEAD_LETTERED}


def test_a_dead_letter_without_an_acknowledgement_ends_the_loop():
    bench = Bench(SendToDeadLetters(), dead_letter=raising(ProducerError("no answer")))

    assert not bench.recover()

    (error,) = bench.ended_by
    assert isinstance(error, RecordError)
    assert (error.topic, error.partition, error.offset) == ("orders", 3, 41)
    assert bench.dispatch.stages == [Stage.HANDLER, Stage.DEAD_LETTER]
    assert (bench.dispatch.gave_up_at, bench.run.outcomes) == ((0, 1), {})


def test_a_dead_letter_that_is_in_flight_at_the_drain_deadline_is_left_unsettled():
    bench = Bench(SendToDeadLetters(), dead_letter=raising(LoopEndedError("too late")))

    assert not bench.recover()

    assert bench.dispatch.left_run is bench.run
    assert (bench.ended_by, bench.run.outcomes) == ([], {})


def test_the_reason_for_a_stop_is_noted_at_the_error():
    bench = Bench(Stop("too many dead letters"))
    error = ValueError("no")

    assert not bench.recover(error)

    assert error.__notes__ == ["too many dead letters"]
    assert bench.ended_by[0].__cause__ is error


@pytest.mark.parametrize(
    ("verdict", "functions"),
    [
        (CallErrorHandler(), {"error_handler": raising(MemoryError())}),
        (SendToDeadLetters(), {"dead_letter": raising(MemoryError())}),
    ],
)
def test_a_memory_error_says_nothing_about_the_record(verdict, functions):
    bench = Bench(verdict, **functions)

    with pytest.raises(MemoryError):
        bench.recover()

    assert bench.dispatch.stages == [Stage.HANDLER]
    assert bench.ended_by == []
