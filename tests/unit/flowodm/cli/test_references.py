from __future__ import annotations

import itertools
import sys

import pytest

from flowodm.cli.references import model_of, models_of, name_of
from flowodm.exceptions import ConfigurationError

SHOP = """
from flowodm import FlowBaseModel

print("loud")
number = 7


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"

    number: int

    class Line(FlowBaseModel):
        number: int


class Bill(Order):
    pass


class Abstract(FlowBaseModel):
    pass


Alias = Order
"""
_numbers = itertools.count()


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Writes a module into the current folder; gives back its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(source=SHOP):
        name = f"shop_of_references_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_a_model_is_found_by_colon_and_by_dot_in_the_current_folder(shop, capsys):
    name = shop()
    model = model_of(f"{name}:Order")
    assert model is model_of(f"{name}.Order")
    assert model.Settings.topic == "orders"
    assert name_of(model) == f"{name}:Order"
    assert model_of(f"{name}:Order.Line").__qualname__ == "Order.Line"
    assert capsys.readouterr().out == ""


def test_the_models_of_a_module_are_those_that_name_a_topic_each_once(shop):
    name = shop()
    assert [model.__name__ for model in models_of(name)] == ["Order", "Bill"]


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("Order", "does not name a class in a module"),
        (":Order", "does not name a class in a module"),
        ("{}:", "does not name a class in a module"),
        ("no_such_shop:Order", "there is no module no_such_shop: install it, or run flowodm in"),
        ("{}.deeper:Order", "there is no module .*deeper"),
        ("{}:Ordr", 'has no Ordr .*; did you mean "Order"'),
        ("{}:number", "is not a subclass of FlowBaseModel"),
        ("flowodm:FlowBaseModel", "is not a subclass of FlowBaseModel"),
    ],
)
def test_what_is_no_model_is_said_with_the_way_out(shop, reference, why):
    with pytest.raises(ConfigurationError, match=why):
        model_of(reference.format(shop()))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("\n\nunknown", r"importing .* failed: NameError: .*shop.*py, line 3\)"),
        ("import no_such_thing", "importing .* failed: ModuleNotFoundError"),
        ("def f(:", "importing .* failed: SyntaxError"),
        ("raise SystemExit('no')", "importing .* failed: SystemExit: no"),
    ],
)
def test_a_module_that_fails_is_said_with_the_line(shop, source, why):
    with pytest.raises(ConfigurationError, match=why):
        model_of(f"{shop(source)}:Order")


def test_a_module_without_a_model_is_said(shop):
    name = shop("number = 7")
    with pytest.raises(ConfigurationError, match=f"{name} has no subclass"):
        models_of(name)
