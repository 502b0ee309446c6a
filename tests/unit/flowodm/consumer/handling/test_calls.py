"""How a handler is called follows from its signature."""

from __future__ import annotations

import contextvars
import functools
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from flowodm.consumer.handling.calls import FilterError, acceptor, caller, failure_of, wants_context
from flowodm.events import Stage

if TYPE_CHECKING:
    from flowodm import MessageContext


class Callable:
    def __call__(self, message, context):
        """Take both."""


class Methods:
    def one(self, message):
        """Take the message."""

    def two(self, message, context):
        """Take both."""


def annotated(message, details: MessageContext | None = None, place: MessageContext = None):
    """Hide the annotation in a union."""


def plainly_annotated(message, place: MessageContext = None):
    """Name the context as one likes."""


@pytest.mark.parametrize(
    ("handler", "wanted"),
    [
        (lambda message: None, False),
        (lambda message, context: None, True),
        (lambda message, anything: None, True),
        (lambda message, verbose=False: None, False),
        (lambda message, context=None: None, True),
        (lambda messages, contexts=None: None, True),
        (lambda *arguments: None, False),
        (lambda message, *, context=None: None, False),
        (plainly_annotated, True),
        (annotated, False),
        (Callable(), True),
        (Methods().one, False),
        (Methods().two, True),
        (functools.partial(Methods().two, context=None), False),
        (print, False),
        (dict, False),
        (Mock(), False),
    ],
)
def test_a_second_parameter_that_must_be_given_or_says_so_gets_the_context(handler, wanted):
    assert wants_context(handler) is wanted


def test_a_variable_that_one_call_sets_is_not_seen_by_the_next():
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    def handle(message) -> None:
        seen.append(variable.get())
        variable.set(message)

    call = caller(handle, Mock())
    for message in "ab":
        call(contextvars.copy_context(), message, Mock(), Mock())

    assert seen == ["unset", "unset"]


def test_a_filter_gets_the_last_of_two_headers_with_one_name():
    record = Mock(headers=lambda: [("kind", b"old"), ("kind", b"new"), ("empty", None)])
    seen = []

    assert acceptor(lambda headers: seen.append(headers) or 1)(record) is True
    assert seen == [{"kind": b"new", "empty": None}]


def test_a_record_without_headers_is_asked_about_too():
    assert acceptor(lambda headers: headers == {})(Mock(headers=lambda: None)) is True


def test_a_filter_that_raises_is_a_failure_of_the_filter():
    broken = KeyError("kind")

    def filter_by_kind(headers):
        raise broken

    with pytest.raises(FilterError) as caught:
        acceptor(filter_by_kind)(Mock(headers=lambda: None))

    failure = failure_of(caught.value, None, Mock(value=lambda: b"x"))
    assert (failure.stage, failure.error) == (Stage.FILTER, broken)


@pytest.mark.parametrize(
    ("message", "value", "stage"),
    [
        (None, b"bytes", Stage.DESERIALIZE),
        ("message", b"bytes", Stage.HANDLER),
        (None, None, Stage.HANDLER),  # a tombstone handler's
    ],
)
def test_what_had_come_of_the_record_tells_the_stage_that_failed(message, value, stage):
    assert failure_of(ValueError(), message, Mock(value=lambda: value)).stage is stage
