"""Source that was made from a schema holds nothing but what its generator writes."""

from __future__ import annotations

import pytest

from flowodm.avro.generated_source import MODELS, READER, checked
from flowodm.exceptions import SchemaValidationError

MODEL = """
from datetime import datetime

from flowodm import FlowBaseModel
from pydantic import Field


class Order(FlowBaseModel):
    \"\"\"An order.\"\"\"

    class Settings:
        topic = "t"

    at: datetime | None = None
    text: list[str] = Field(default_factory=lambda: ["a", -1])
"""
CODE = {
    "a call": "x = print('executed')",
    "an import": "import os",
    "from another module": "from os import system",
    "a method": "x = ''.join(['a'])",
    "a call of a call": "x = print()()",
    "a comprehension": "x = [y for y in ()]",
    "an f-string": "x = f'{print()}'",
    "a walrus": "(x := 1)",
    "a decorator": "@print\nclass A: ...",
    "a metaclass": "class A(metaclass=print): ...",
    "an assert": "assert print()",
    "a function": "def f(): ...",
    "a choice": "x = 1 or print()",
    "await": "async def f():\n    await x",
}


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_code_in_a_module_of_models_is_refused(code):
    with pytest.raises(SchemaValidationError, match="would become code"):
        checked(f"{MODEL}\n{code}\n", MODELS, "R")


def test_what_the_generator_writes_is_not():
    assert checked(MODEL, MODELS, "R")


READS = """
def read(data):
    try:
        i = 0
        n = data[i]
        {}
    except odd:
        return otherwise(data)
    return validate({{"a": n}}, strict=False, by_alias=False, by_name=True)
"""


@pytest.mark.parametrize(
    "code", [*list(CODE.values())[:7], "global x", "del n", "builder(n)", "buildx(n)"]
)
def test_code_in_a_reader_is_refused(code):
    lines = code.replace("\n", "\n        ")
    with pytest.raises(SchemaValidationError, match="would become code"):
        checked(READS.format(lines), READER, "R")


def test_what_a_reader_does_is_not():
    assert checked(READS.format("n = build0(n)"), READER, "R")


def test_source_that_python_cannot_parse_is_refused_with_the_same_error():
    with pytest.raises(SchemaValidationError, match="nests too deeply"):
        checked("x = " + "(" * 500 + ")" * 500, MODELS, "R")
