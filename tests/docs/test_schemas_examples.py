"""docs/schemas.md: its examples run in order on a real registry, and do what the text says."""

from __future__ import annotations

import importlib
import re
import uuid
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
MODEL, SOURCE, VALID, COMPATIBLE, SUBJECTS = BLOCKS


class Reader:
    """Types the examples into one program."""

    def __init__(self):
        self.names = {"__name__": "examples"}

    def executes(self, *blocks, **replacements):
        for block in blocks:
            source = block
            for old, new in replacements.items():
                source = source.replace(old, new)
            exec(compile(source, "schemas.md", "exec", dont_inherit=True), self.names)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Reader()


def test_the_model_is_made_and_its_values_are_typed(reader, capsys):
    reader.executes(MODEL)

    assert capsys.readouterr().out == "NEW 12.50 standard\n"
    model, order = reader.names["OrderEvent"], reader.names["order"]
    values = order.model_dump(exclude={"class_"})
    assert model(**values, **{"class": "express"}) == model(**values, class_="express")


def test_the_source_is_a_module(reader):
    reader.executes(MODEL, SOURCE)

    module = importlib.import_module("order_event")

    assert list(module.OrderEvent.model_fields) == list(reader.names["OrderEvent"].model_fields)


def test_what_does_not_fit_is_printed(reader, capsys):
    reader.executes(MODEL, SOURCE)
    capsys.readouterr()

    reader.executes(VALID)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "amount",
        "status",
        "placed",
        "note",
    ]


def test_the_change_is_not_compatible_for_the_reason_in_the_text(reader, registry, capsys):
    reader.executes(MODEL, SOURCE, VALID)
    capsys.readouterr()
    subject = f"{uuid.uuid4().hex}-value"

    reader.executes(COMPATIBLE, **{"http://localhost:8081": registry, "orders-value": subject})

    reason = "OrderEvent.channel: the writer has no such field, and there is no default"
    assert capsys.readouterr().out == f"False ['records of version 1: {reason}']\n"
    assert reason in TEXT.replace("\n", " ")

    reader.executes(SUBJECTS, **{"orders-value": subject})

    assert capsys.readouterr().out == "[1]\n[1]\n"
