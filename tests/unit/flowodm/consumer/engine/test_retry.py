"""What follows a failure depends on its stage, its count and the policy, on nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.engine.retry import (
    REGISTRY_DELAY_MAX,
    CallErrorHandler,
    FailurePolicy,
    OnFailure,
    Retry,
    SendToDeadLetters,
    Skip,
    Stop,
)
from flowodm.events import Stage

BROKEN = ValueError("broken")


def test_a_handler_is_tried_again_as_often_as_allowed_and_then_handed_over():
    policy = FailurePolicy(max_retries=2, retry_delay=1.5, error_handler=True)

    verdicts = [policy.judge(Stage.HANDLER, failures, BROKEN) for failures in (1, 2, 3)]

    assert verdicts == [Retry(1.5), Retry(1.5), CallErrorHandler()]


@pytest.mark.parametrize(
    ("on_failure", "verdict"), [(OnFailure.SKIP, Skip()), (OnFailure.STOP, Stop())]
)
@pytest.mark.parametrize("stage", [Stage.HANDLER, Stage.DESERIALIZE])
def test_without_an_error_handler_the_policy_skips_or_stops(on_failure, verdict, stage):
    assert FailurePolicy(on_failure=on_failure).judge(stage, failures=1, error=BROKEN) == verdict


def test_bytes_that_do_not_decode_are_not_tried_again():
    policy = FailurePolicy(max_retries=5, error_handler=True)

    assert policy.judge(Stage.DESERIALIZE, failures=1, error=BROKEN) == CallErrorHandler()


@pytest.mark.parametrize("on_failure", OnFailure)
def test_an_error_handler_that_fails_stops_the_loop(on_failure):
    policy = FailurePolicy(max_retries=5, on_failure=on_failure, error_handler=True)

    assert policy.judge(Stage.ERROR_HANDLER, failures=1, error=BROKEN) == Stop()


@given(failures=st.integers(1, 10_000))
def test_a_silent_registry_is_asked_again_for_ever_with_a_bounded_delay(failures):
    verdict = FailurePolicy(max_retries=0, error_handler=True).judge(
        Stage.REGISTRY, failures, BROKEN
    )

    assert isinstance(verdict, Retry)
    assert 0 < verdict.delay <= REGISTRY_DELAY_MAX


@given(
    failures=st.integers(1, 10_000),
    delay=st.floats(0, 1000),
    backoff=st.floats(1, 1e6),
    most=st.floats(0.001, 1000),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1),
)
def test_a_delay_grows_up_to_its_cap_and_chance_only_shortens_it(
    failures, delay, backoff, most, jitter, chance
):
    def delay_of(failures, jitter):
        policy = FailurePolicy(100_000, delay, backoff=backoff, max_delay=most, jitter=jitter)
        return policy.judge(Stage.HANDLER, failures, BROKEN, chance).delay

    plain = delay_of(failures, 0.0)

    assert plain <= max(most, delay)
    assert plain <= delay_of(failures + 1, 0.0)
    assert plain * (1 - jitter) * 0.999 <= delay_of(failures, jitter) <= plain


def test_delays_double_with_a_backoff_of_two():
    policy = FailurePolicy(9, 0.5, backoff=2, max_delay=3.0)

    delays = [policy.judge(Stage.HANDLER, failures, BROKEN).delay for failures in range(1, 6)]

    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (ConnectionError(), True),
        (ConnectionResetError(), True),
        (BrokenPipeError(), False),
        (ValueError(), False),
    ],
)
def test_only_the_chosen_errors_are_tried_again(error, retried):
    policy = FailurePolicy(
        1, 0.0, OnFailure.SKIP, retry_on=(ConnectionError,), never_retry=(BrokenPipeError,)
    )

    assert policy.judge(Stage.HANDLER, 1, error) == (Retry(0.0) if retried else Skip())


@pytest.mark.parametrize("stage", [Stage.HANDLER, Stage.DESERIALIZE, Stage.FILTER])
def test_dead_letters_come_before_the_error_handler(stage):
    policy = FailurePolicy(error_handler=True, dead_letters=True)

    assert policy.judge(stage, 1, BROKEN) == SendToDeadLetters()


@pytest.mark.parametrize("on_failure", OnFailure)
def test_a_dead_letter_that_cannot_be_delivered_stops_the_loop(on_failure):
    policy = FailurePolicy(5, on_failure=on_failure, error_handler=True, dead_letters=True)

    assert policy.judge(Stage.DEAD_LETTER, 1, BROKEN) == Stop()
