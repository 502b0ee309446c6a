"""The tables that `make reference` writes into the pages are current."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

from flowodm import BaseSettings
from flowodm.consumer.options.loop_options import OPTIONS
from flowodm.model_settings import ModelSettings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def tables():
    """docs/tables.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_hold_what_the_code_says_now(tables):
    old = []
    for page in tables.pages():
        text = page.read_text(encoding="utf-8")
        if tables.renewed(text) != text:
            old.append(page.name)
    assert old == [], "run `make reference`"


def test_each_table_has_one_place(tables):
    places = Counter()
    for page in tables.pages():
        places.update(re.findall("<!-- table: (.+) -->", page.read_text(encoding="utf-8")))
    assert places == dict.fromkeys(tables.TABLES, 1)


def test_every_row_has_as_many_cells_as_the_head(tables):
    for name, make in tables.TABLES.items():
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in make().splitlines()}
        assert len(cells) == 1, name


def test_the_table_of_options_has_each_of_them_once(tables):
    assert re.findall(r"^\| `(\w+)` \|", tables.loop_options(), re.MULTILINE) == list(OPTIONS)


def test_the_tables_of_settings_have_each_field_once(tables):
    for rows, cls in (
        (tables.model_settings(), ModelSettings),
        (tables.profile_settings(), BaseSettings),
    ):
        names = [field.name for field in dataclasses.fields(cls)]
        assert re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) == names


def test_the_table_of_profiles_has_each_of_them_once(tables):
    profiles = [BaseSettings, *BaseSettings.__subclasses__()]
    names = re.findall(r"^\| `(\w+)` \|", tables.profiles(), re.MULTILINE)
    assert sorted(names) == sorted(
        profile.__name__ for profile in profiles if profile.__module__ == "flowodm.settings"
    )
