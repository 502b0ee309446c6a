"""A record that nests without an end is an ordinary bad record, whatever code reads it."""

from __future__ import annotations

import io
from typing import Optional

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flowodm.avro import wire
from flowodm.avro.codec import Codec
from flowodm.avro.depth import MOST_LEVELS, depth_check
from flowodm.avro.errors import TooDeepError
from flowodm.avro.parsing import parsed
from flowodm.exceptions import DeserializationError

MANY = 100_000


class Node(BaseModel):
    next: Optional[Node] = None  # noqa: UP045 - a name in quotes has no `|`


class Tree(BaseModel):
    name: str = ""
    children: list[Tree] = []
    by_name: dict[str, Tree] = {}


class Holder(BaseModel):
    node: Node
    text: str = ""


class Flat(BaseModel):
    text: str


NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {"name": "children", "type": {"type": "array", "items": "Tree"}},
        {"name": "by_name", "type": {"type": "map", "values": "Tree"}},
    ],
}


def codec(model: type[BaseModel]) -> Codec:
    return Codec(model, subject="s")


def too_deep(read, data: bytes) -> None:
    with pytest.raises(DeserializationError, match=f"more than {MOST_LEVELS} levels deep"):
        read(data)


@pytest.mark.parametrize("levels", [MOST_LEVELS, 5_000, MANY])
def test_a_recursive_model(levels):
    too_deep(codec(Holder).decode, b"\2" * levels + b"\0\0")


@pytest.mark.parametrize(
    "end", [b"", b"\0", b"\0\0\0", b"\xff\xff"], ids=["cut", "cut", "more", "odd"]
)
def test_whatever_follows(end):
    with pytest.raises(DeserializationError):
        codec(Holder).decode(b"\2" * 5_000 + end)


def test_arrays_in_arrays_and_maps_in_maps():
    read = codec(Tree).decode
    too_deep(read, b"\0\2" * 5_000)
    too_deep(read, b"\0\0\2\0" * 5_000)


@pytest.mark.parametrize("levels", [5_000, MANY])
def test_a_field_that_the_writer_has_and_the_model_does_not(levels):
    """The model is not recursive, and the field is only skipped."""
    writer = {
        "type": "record",
        "name": "Flat",
        "fields": [{"name": "extra", "type": NODE}, {"name": "text", "type": "string"}],
    }
    read = codec(Flat)._readers.framed_reader(writer)
    body = b"\2" * levels + b"\0" + b"\2a"
    with pytest.raises(TooDeepError):
        read(wire.header(1) + body)
    assert read(wire.header(1) + b"\2\2\0" + b"\2a") == Flat(text="a")


def test_what_pydantic_allows_is_read():
    """It refuses 255 levels of a recursive model; ours is the smaller number."""
    levels = MOST_LEVELS - 10
    message = codec(Holder).decode(b"\2" * levels + b"\0\0")
    depth, node = 0, message.node
    while node.next is not None:
        depth, node = depth + 1, node.next
    assert depth == levels


def test_a_schema_that_is_not_recursive_needs_no_look():
    plain = parsed({"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]})
    twice = parsed(
        {
            "type": "record",
            "name": "R",
            "fields": [
                {"name": "a", "type": {"type": "fixed", "name": "F", "size": 4}},
                {"name": "b", "type": "F"},
            ],
        }
    )
    assert depth_check(plain) is None
    assert depth_check(twice) is None


trees = st.recursive(
    st.just({"children": [], "by_name": {}}),
    lambda inner: st.fixed_dictionaries(
        {
            "children": st.lists(inner, max_size=3),
            "by_name": st.dictionaries(st.text(max_size=3), inner, max_size=2),
        }
    ),
    max_leaves=40,
)


def depth_of(tree: dict) -> int:
    inner = [*tree["children"], *tree["by_name"].values()]
    return 2 + max(map(depth_of, inner), default=0)


@given(trees, st.integers(1, 12))
def test_the_levels_are_counted_as_they_are(tree, most):
    schema = parsed(TREE)
    check = depth_check(schema)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), tree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowodm.avro.depth.MOST_LEVELS", most)
        refused = False
        try:
            check(stream.getvalue(), 0)
        except TooDeepError:
            refused = True

    assert refused is (depth_of(tree) - 1 > most)


@given(st.binary(max_size=60))
def test_spoilt_bytes_are_followed_as_fastavro_follows_them(data):
    schema = parsed(TREE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowodm.avro.depth.MOST_LEVELS", 10_000)
        patch.setattr("flowodm.avro.depth._levels", lambda _: 1_000_000)  # so that it looks
        followed = is_read(lambda: depth_check(schema)(data, 0))
    stream = io.BytesIO(data)
    read = is_read(lambda: fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None))

    if read and not followed:
        # A length below zero: fastavro then takes everything up to the end of the bytes.
        assert any(byte & 1 for byte in data)
    elif followed and not read:
        # It does not look whether text is UTF-8.
        assert any(byte > 127 for byte in data)


def is_read(read) -> bool:
    try:
        read()
    except Exception:  # noqa: BLE001 - fastavro raises many
        return False
    return True
