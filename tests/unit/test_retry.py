"""What follows a failure depends on its stage, its count and the policy, on nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.consumer.retry import (
    REGISTRY_DELAY_MAX,
    CallErrorHandler,
    FailurePolicy,
    OnFailure,
    Retry,
    Skip,
    Stop,
)
from flowodm.events import Stage


def test_a_handler_is_tried_again_as_often_as_allowed_and_then_handed_over():
    policy = FailurePolicy(max_retries=2, retry_delay=1.5, error_handler=True)

    verdicts = [policy.judge(Stage.HANDLER, failures) for failures in (1, 2, 3)]

    assert verdicts == [Retry(1.5), Retry(1.5), CallErrorHandler()]


@pytest.mark.parametrize(
    ("on_failure", "verdict"), [(OnFailure.SKIP, Skip()), (OnFailure.STOP, Stop())]
)
@pytest.mark.parametrize("stage", [Stage.HANDLER, Stage.DESERIALIZE])
def test_without_an_error_handler_the_policy_skips_or_stops(on_failure, verdict, stage):
    assert FailurePolicy(on_failure=on_failure).judge(stage, failures=1) == verdict


def test_bytes_that_do_not_decode_are_not_tried_again():
    policy = FailurePolicy(max_retries=5, error_handler=True)

    assert policy.judge(Stage.DESERIALIZE, failures=1) == CallErrorHandler()


@pytest.mark.parametrize("on_failure", OnFailure)
def test_an_error_handler_that_fails_stops_the_loop(on_failure):
    policy = FailurePolicy(max_retries=5, on_failure=on_failure, error_handler=True)

    assert policy.judge(Stage.ERROR_HANDLER, failures=1) == Stop()


@given(failures=st.integers(1, 10_000))
def test_a_silent_registry_is_asked_again_for_ever_with_a_bounded_delay(failures):
    verdict = FailurePolicy(max_retries=0, error_handler=True).judge(Stage.REGISTRY, failures)

    assert isinstance(verdict, Retry)
    assert 0 < verdict.delay <= REGISTRY_DELAY_MAX
