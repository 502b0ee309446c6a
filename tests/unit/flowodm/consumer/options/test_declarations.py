"""An option is declared once; what typing makes us write a second time says the same."""

from __future__ import annotations

import dataclasses
import inspect
import re
from enum import Enum

import pytest

from flowodm import (
    AsyncConsumerLoop,
    ConsumerLoop,
    FlowBaseModel,
    async_consumer_loop,
    consumer_loop,
)
from flowodm.consumer.engine.rules import Rules
from flowodm.consumer.kafka.source import Source
from flowodm.consumer.loop.lifecycle import Loop
from flowodm.consumer.options.declaration import REQUIRED
from flowodm.consumer.options.keywords import DecoratorOptions, MoreOptions, SyncOptions
from flowodm.consumer.options.loop_options import OPTIONS, LoopOptions

TYPES = {field.name: field.type for field in dataclasses.fields(LoopOptions)}
FURTHER = {ConsumerLoop: SyncOptions, AsyncConsumerLoop: MoreOptions}
LOOPS = pytest.mark.parametrize("loop", FURTHER)


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"

    order_id: str


def types_of(typed_dict: type) -> dict[str, str]:
    return {name: hint.__forward_arg__ for name, hint in typed_dict.__annotations__.items()}


def parameters(loop: type) -> dict[str, inspect.Parameter]:
    """Those that stand in the constructor itself."""
    found = dict(inspect.signature(loop).parameters)
    del found["more"]
    return found


def argument_types(loop: type) -> dict[str, str]:
    explicit = {name: parameter.annotation for name, parameter in parameters(loop).items()}
    return {**explicit, **types_of(FURTHER[loop])}


def accepted(name: str, hint: str) -> set[str]:
    """The types that an argument may have for an option of this type."""
    if OPTIONS[name].choices is not None:
        hint = hint.replace(OPTIONS[name].choices.__name__, "str")
    hint = re.sub(r"tuple\[(.+), \.\.\.\]", r"Iterable[\1]", hint)
    if name == "handler":
        hint = "Handler"  # the loop itself calls it with one argument or with two
    return {hint, f"{hint} | None"}


@LOOPS
def test_names(loop):
    """The arguments of a constructor are the options that are declared."""
    assert argument_types(loop).keys() == OPTIONS.keys()


@LOOPS
def test_types(loop):
    wrong = {
        name: hint
        for name, hint in argument_types(loop).items()
        if hint not in accepted(name, TYPES[name])
    }
    assert wrong == {}


@LOOPS
def test_defaults(loop):
    for name, parameter in parameters(loop).items():
        declared = OPTIONS[name].default_of(for_async=loop is AsyncConsumerLoop)
        if isinstance(declared, Enum):
            declared = declared.value
        if name == "settings":
            declared = None  # a profile is an object of its own for each loop
        wanted = inspect.Parameter.empty if declared is REQUIRED else declared
        assert parameter.default == wanted, name


@LOOPS
def test_decorators(loop):
    """The options of a decorator are those of its loop, with the same types."""
    types = argument_types(loop)
    for name in ("model", "handler", "settings"):
        del types[name]
    assert types_of(DecoratorOptions) == types


def test_decorators_take_what_is_typed():
    for decorator in (consumer_loop, async_consumer_loop):
        assert inspect.signature(decorator).parameters["options"].annotation == (
            "Unpack[DecoratorOptions]"
        )


def test_attributes():
    """The options that a loop has as attributes are of the declared types."""
    for name, hint in Loop.__annotations__.items():
        if match := re.fullmatch(r"OptionValue\[(.+)\]", hint):
            assert match[1] == ("str" if name == "commit_strategy" else TYPES[name])


def test_an_attribute_is_read_only():
    loop = ConsumerLoop(Order, print)
    with pytest.raises(AttributeError, match="max_retries is an option: pass it when"):
        loop.max_retries = 3


def test_the_engine_s_own_defaults():
    """Where the rules of the engine are made without options, as in tests, they are the same."""
    rules = Rules()
    for name in ("max_concurrent", "commit_interval", "commit_ahead", "dead_letter_limit"):
        assert getattr(rules, name) == OPTIONS[name].default
    source = {field.name: field.default for field in dataclasses.fields(Source)}
    assert source["revoke_patience"] == OPTIONS["drain_timeout"].default
    policy = rules.failures
    assert (policy.backoff, policy.max_delay, policy.jitter) == (
        OPTIONS["retry_backoff"].default,
        OPTIONS["retry_max_delay"].default,
        OPTIONS["retry_jitter"].default,
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_a_declaration_is_complete(name):
    option, hint = OPTIONS[name], TYPES[name].removesuffix(" | None")
    assert option.meaning.endswith(".")
    assert bool(option.unit) == (hint in {"int", "float"})
    assert bool(option.allowed) == (hint in {"int", "float"})
    if option.choices is None:
        assert hint not in {kind.__name__ for kind in Enum.__subclasses__()}
    if "Callable" in hint and name != "handler":
        assert option.called_with is not None


def paragraphs(loop: type) -> dict[str, str]:
    """What a loop's help says of each argument."""
    text = inspect.getdoc(loop).partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+)(.*(?:\n {8}.+)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", rest) for name, rest in found}


@LOOPS
def test_help_lists_every_option(loop):
    listed = paragraphs(loop)
    assert list(listed) == list(OPTIONS)
    for name, option in OPTIONS.items():
        assert option.meaning in listed[name]
        if option.default is not REQUIRED:
            assert "default: " in listed[name]


def test_help_says_the_defaults_of_its_own_loop():
    sync, aio = paragraphs(ConsumerLoop), paragraphs(AsyncConsumerLoop)
    assert sync["max_concurrent"].startswith(" (handlers, default: 1): ")
    assert aio["max_concurrent"].startswith(" (handlers, default: 10): ")
    assert sync["ordering"].startswith(' (default: "partition"): ')
    assert aio["ordering"].startswith(' (default: "key"): ')
    assert sync["attempt_timeout"].endswith(" AsyncConsumerLoop only.")
    assert not aio["attempt_timeout"].endswith(" AsyncConsumerLoop only.")


def test_help_of_an_object_is_its_handler_s():
    @consumer_loop(Order)
    def ship(order: Order) -> None:
        """Ship it."""

    assert inspect.getdoc(ship) == "Ship it."
    assert inspect.getdoc(ConsumerLoop(Order, print)) == inspect.getdoc(ConsumerLoop)


def test_a_class_of_one_s_own_has_a_docstring_of_its_own():
    class Mine(ConsumerLoop):
        """Mine."""

    assert Mine.__doc__ == "Mine."
    assert list(paragraphs(AsyncConsumerLoop)) == list(OPTIONS)
