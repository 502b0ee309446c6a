"""What the real registry calls compatible, a model reads, whatever the two schemas are."""

from __future__ import annotations

import json
import uuid
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from flowodm.avro.codec import Codec
from flowodm.exceptions import DeserializationError
from flowodm.registry.client import SchemaRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = Enum("Colour", {"RED": "RED", "BLUE": "BLUE"}, module=__name__)
LARGE = Enum("Colour", {"RED": "RED", "BLUE": "BLUE", "GREEN": "GREEN"}, module=__name__)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**40), 2**40),
    float: st.floats(allow_nan=False, width=32),
    str: st.text("ab", max_size=4),
    # To be read as a string too; fastavro leaves defaults that are not ASCII undecoded.
    bytes: st.text("ab", max_size=4).map(str.encode),
    bool: st.booleans(),
    SMALL: st.sampled_from(list(SMALL)),
    LARGE: st.sampled_from(list(LARGE)),
}


#: What a type may become, beside anything else.
GROWN: dict[Any, tuple[Any, ...]] = {int: (float,), str: (bytes,), bytes: (str,), SMALL: (LARGE,)}


class Side(NamedTuple):
    """One side of a field: its type, and a strategy for values of it."""

    annotation: Any
    values: st.SearchStrategy[Any]


Twins = tuple[Side, Side]  # the writer's and the reader's


def optional(side: Side) -> Side:
    return Side(side.annotation | None, st.none() | side.values)


def listed(side: Side) -> Side:
    return Side(list[side.annotation], st.lists(side.values, max_size=2))  # type: ignore[name-defined]  # made at run time


def mapped(side: Side) -> Side:
    values = st.dictionaries(st.sampled_from("xy"), side.values, max_size=2)
    return Side(dict[str, side.annotation], values)  # type: ignore[name-defined]  # as above


@st.composite
def twins(draw: st.DrawFn, name: str, colour: Any, depth: int) -> Twins:
    """A type, and what became of it."""
    shape = draw(st.sampled_from(["scalar", "optional", "grown optional", "list", "map", "model"]))
    if depth == 0 or shape == "scalar":
        scalars = [kind for kind in SCALARS if kind not in {SMALL, LARGE}]
        kind = draw(st.sampled_from([*scalars, colour[0]]))
        after = colour[1] if kind is colour[0] else kind
        if draw(st.booleans()):
            after = draw(st.sampled_from([*GROWN.get(kind, (kind,)), *scalars]))
        after = colour[1] if after in {SMALL, LARGE} else after
        return Side(kind, SCALARS[kind]), Side(after, SCALARS[after])
    if shape == "model":
        return draw(models(name, colour, depth - 1))
    written, read = draw(twins(name, colour, depth - 1))
    match shape:
        case "optional":
            return optional(written), optional(read)
        case "grown optional":
            return written, optional(read)
        case "list":
            return listed(written), listed(read)
        case _:
            return mapped(written), mapped(read)


@st.composite
def models(draw: st.DrawFn, name: str, colour: Any, depth: int) -> Twins:
    """A model, and what became of it: fields were added, removed, moved, and changed."""
    # Records without any field may not be in lists: they take no bytes.
    sides: tuple[dict[str, Any], dict[str, Any]] = ({"z": (bool, ...)}, {"z": (bool, ...)})
    values: tuple[dict[str, Any], dict[str, Any]] = ({"z": st.booleans()}, {"z": st.booleans()})
    for field in draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=4)):
        twin = draw(twins(f"{name}_{field}", colour, depth))
        for here in draw(st.sampled_from([(0, 1), (0, 1), (0, 1), (0,), (1,)])):
            annotation, strategy = twin[here]
            scalar = annotation in SCALARS  # lists and models as defaults say nothing new
            default = draw(strategy) if scalar and draw(st.booleans()) else ...
            sides[here][field] = (annotation, default)
            values[here][field] = strategy
    after = draw(st.permutations(list(sides[1])))
    written = create_model(name, __module__=__name__, **sides[0])
    read = create_model(name, __module__=__name__, **{field: sides[1][field] for field in after})
    return _side(written, values[0]), _side(read, values[1])


def _side(model: type[BaseModel], values: dict[str, Any]) -> Side:
    return Side(model, st.fixed_dictionaries(values).map(lambda given: model(**given)))


@st.composite
def pairs(draw: st.DrawFn) -> Twins:
    colour = draw(st.sampled_from([(SMALL, LARGE), (SMALL, SMALL), (LARGE, SMALL)]))
    return draw(models("Order", colour, 2))


@pytest.fixture(scope="module")
def client(registry: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry}) as client:
        yield client


@pytest.fixture(scope="module")
def flowodm_registry(registry: str) -> Iterator[SchemaRegistry]:
    registry_client = SchemaRegistry({"url": registry})
    yield registry_client
    registry_client.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pairs(), st.data())
def test_what_the_registry_calls_compatible_is_read(client, flowodm_registry, pair, data):
    written, read = pair
    subject = f"random-{uuid.uuid4().hex}"
    writer: Codec[BaseModel] = Codec(written.annotation, subject=subject, registry=flowodm_registry)
    reader: Codec[BaseModel] = Codec(read.annotation, subject=subject, registry=flowodm_registry)
    record = writer.encode(data.draw(written.values))
    client.set_compatibility(subject, "BACKWARD")
    accepted = client.test_compatibility(subject, Schema(json.dumps(reader.schema), "AVRO"))
    event(f"compatible: {accepted}")
    reader.load_schema(int.from_bytes(record[1:5], "big"))
    try:
        message = reader.decode(record)
    except DeserializationError:
        assert not accepted
        return
    if accepted:  # then the specification alone says what is read, and fastavro knows it too
        stream = BytesIO(record[5:])
        values: Any = fastavro.schemaless_reader(stream, writer.schema, reader.schema)
        assert message == read.annotation(**values)
