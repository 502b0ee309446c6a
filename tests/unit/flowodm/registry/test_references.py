"""Schemas that refer to others stand alone afterwards, by the Avro specification's names."""

from __future__ import annotations

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowodm.registry.references import UndefinedNameError, standalone


def record(name, fields, **more):
    listed = [{"name": field, "type": kind} for field, kind in fields.items()]
    return {"type": "record", "name": name, "fields": listed, **more}


def types_of(schema):
    return {field["name"]: field["type"] for field in schema["fields"]}


def test_a_referenced_type_is_defined_at_its_first_use_and_named_at_the_next():
    line = record("shop.Line", {"sku": "string"})
    order = record("shop.Order", {"first": "shop.Line", "more": ["null", "Line"]})
    assert types_of(standalone(order, [line])) == {"first": line, "more": ["null", "shop.Line"]}


def test_a_name_is_looked_for_in_its_namespace_first_and_then_without_one():
    here, there = record("shop.Unit", {"a": "int"}), record("Unit", {"b": "int"})
    order = record("Order", {"unit": "Unit"}, namespace="shop")
    assert types_of(standalone(order, [there, here]))["unit"] == here
    alone = types_of(standalone(order, [there]))["unit"]
    assert alone["fields"] == there["fields"]


def test_a_referenced_schema_keeps_its_own_namespace():
    """Its short names mean its own types, not those of the record that refers to it."""
    part = record("parts.Part", {"unit": "Unit"})
    part_unit, shop_unit = record("parts.Unit", {"a": "int"}), record("shop.Unit", {"b": "int"})
    order = record("shop.Order", {"unit": "Unit", "part": "parts.Part"})
    alone = types_of(standalone(order, [part, part_unit, shop_unit]))
    assert alone["unit"] == shop_unit
    assert types_of(alone["part"]) == {"unit": part_unit}


def test_types_without_a_namespace_can_be_used_from_inside_one_more_than_once():
    unit = {"type": "enum", "name": "Unit", "symbols": ["KILO"]}
    order = record("shop.Order", {"a": "Unit", "b": {"type": "array", "items": "Unit"}})
    alone = fastavro.parse_schema(standalone(order, [unit]))
    assert alone["fields"][0]["type"]["symbols"] == ["KILO"]


def test_inner_definitions_and_recursion_are_found_in_maps_arrays_and_unions():
    inner = {"type": "fixed", "name": "Hash", "size": 4}
    node = record("t.Node", {"hash": inner, "next": ["null", "Node"]})
    tree = record("t.Tree", {"all": {"type": "map", "values": {"type": "array", "items": "Node"}}})
    alone = standalone(tree, [node])
    defined = types_of(alone)["all"]["values"]["items"]
    assert types_of(defined)["next"] == ["null", "t.Node"]
    assert types_of(defined)["hash"]["name"] == "t.Hash"
    fastavro.parse_schema(alone)


def test_a_schema_may_use_a_type_that_is_defined_inside_a_reference():
    line = record("shop.Line", {"unit": {"type": "enum", "name": "Unit", "symbols": ["KILO"]}})
    alone = types_of(standalone(record("shop.Order", {"unit": "shop.Unit"}), [line]))
    assert alone["unit"]["symbols"] == ["KILO"]


def test_a_name_that_is_defined_nowhere_is_told():
    with pytest.raises(UndefinedNameError, match=r"shop\.Nobody"):
        standalone(record("shop.Order", {"x": "shop.Nobody"}), [])


def test_documentation_defaults_and_logical_types_stay():
    field = {
        "name": "at",
        "type": {"type": "long", "logicalType": "timestamp-millis"},
        "default": 0,
        "doc": "when",
    }
    order = {"type": "record", "name": "Order", "doc": "an order", "fields": [field]}
    assert standalone(order, []) == order


@st.composite
def families(draw):
    """Records that use those before them, in namespaces of their own, or in none."""
    spaces = st.sampled_from(["", "a", "a.b", "c"])
    names = []
    schemas = []
    for number in range(draw(st.integers(1, 6))):
        space = draw(spaces)
        name = f"{space}.R{number}" if space else f"R{number}"
        uses = draw(st.lists(st.sampled_from(names), max_size=3)) if names else []
        fields = {"own": "long"} | {f"f{i}": used for i, used in enumerate(uses)}
        fields["again"] = ["null", name]
        schemas.append(record(name, fields))
        names.append(name)
    return schemas


def expanded(schema, known, depth=3):
    """Field by field what bytes mean, without any names."""
    if isinstance(schema, list):
        return [expanded(branch, known, depth) for branch in schema]
    if isinstance(schema, str):
        return expanded(known[schema], known, depth) if schema in known else schema
    if depth < 0:
        return "deeper"
    return [(f["name"], expanded(f["type"], known, depth - 1)) for f in schema["fields"]]


@given(families())
def test_bytes_mean_the_same_whatever_the_namespaces_and_the_order_of_references(schemas):
    *referenced, root = schemas
    alone = standalone(root, referenced)
    named = {}
    fastavro.parse_schema(alone, named)
    assert expanded(alone, named) == expanded(root, {s["name"]: s for s in schemas})
    backwards = standalone(root, referenced[::-1])
    assert fastavro.schema.to_parsing_canonical_form(
        backwards
    ) == fastavro.schema.to_parsing_canonical_form(alone)
