from __future__ import annotations

import pytest

from support.waiting import wait_until, wait_until_async


def test_the_answer_that_was_waited_for_is_returned():
    answers = iter([None, [], "ready"])

    assert wait_until(lambda: next(answers), 5, "an answer") == "ready"


def test_a_wait_in_vain_names_the_fact_and_the_last_observation():
    with pytest.raises(AssertionError, match=r"within 0 s: the list fills; last observed: \[\]"):
        wait_until(list, 0, "the list fills")


async def test_the_asynchronous_wait_names_them_too():
    with pytest.raises(AssertionError, match=r"within 0 s: the list fills; last observed: \[\]"):
        await wait_until_async(list, 0, "the list fills")


async def test_the_asynchronous_wait_returns_the_answer():
    answers = iter([0, 7])

    assert await wait_until_async(lambda: next(answers), 5, "an answer") == 7


def test_an_expected_exception_is_an_answer_that_is_waited_out():
    answers = iter([lambda: 1 / 0, lambda: "ready"])

    def condition():
        return next(answers)()

    assert wait_until(condition, 5, "an answer", despite=ZeroDivisionError) == "ready"


def test_the_last_expected_exception_is_shown_when_the_wait_was_in_vain():
    with pytest.raises(AssertionError, match=r"last observed: ZeroDivisionError"):
        wait_until(lambda: 1 / 0, 0, "an answer", despite=ZeroDivisionError)


def test_an_unexpected_exception_passes_through():
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0, 5, "an answer", despite=KeyError)
