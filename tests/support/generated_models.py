"""Models of plain data, made up by hypothesis: any nesting of any types, with values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, create_model


class Colour(Enum):
    RED = "RED"
    BLUE = "BLUE"


class Size(IntEnum):
    SMALL = 1
    LARGE = -(2**63)


class State(StrEnum):
    NEW = "new"
    IN_PROGRESS = "in-progress"


class Unit(Enum):
    HALF = 0.5
    DOZEN = (1, "twelve")


class Leaf(BaseModel):
    number: int
    at: datetime | None = None


class Tree(BaseModel):
    leaf: Leaf
    branches: list[Tree] = []
    named: dict[str, Tree] = {}


class Cat(BaseModel):
    lives: int


class Dog(BaseModel):
    lives: int
    friend: Cat | Dog | None = None


Pet = Cat | Dog
Money = Annotated[Decimal, Field(max_digits=20, decimal_places=4)]


class Kind(NamedTuple):
    """A type, what it is written as (for unions), and its values."""

    annotation: Any
    written_as: frozenset[str]
    values: st.SearchStrategy[Any]

    def __repr__(self) -> str:
        return str(self.annotation)


def kind(annotation: Any, written_as: str, values: st.SearchStrategy[Any]) -> Kind:
    return Kind(annotation, frozenset({written_as}), values)


LONGS = st.integers(-(2**63), 2**63 - 1)
INSTANTS = st.datetimes(timezones=st.just(UTC))
LEAVES = st.builds(Leaf, number=LONGS, at=st.none() | INSTANTS)
TREES = st.recursive(
    st.builds(Tree, leaf=LEAVES),
    lambda trees: st.builds(
        Tree,
        leaf=LEAVES,
        branches=st.lists(trees, max_size=2),
        named=st.dictionaries(st.text(max_size=3), trees, max_size=2),
    ),
    max_leaves=4,
)
CATS = st.builds(Cat, lives=LONGS)
DOGS = st.recursive(
    st.builds(Dog, lives=LONGS),
    lambda dogs: st.builds(Dog, lives=LONGS, friend=st.none() | CATS | dogs),
    max_leaves=3,
)
SCALARS = [
    kind(str, "string", st.text()),
    kind(int, "long", LONGS),
    kind(float, "double", st.floats(allow_nan=False)),
    kind(bool, "boolean", st.booleans()),
    kind(bytes, "bytes", st.binary()),
    kind(None, "null", st.none()),
    kind(datetime, "long", INSTANTS),
    kind(date, "int", st.dates()),
    kind(time, "long", st.times()),
    kind(UUID, "string", st.uuids()),
    kind(Money, "bytes", st.decimals(-(10**16) + 1, 10**16 - 1, places=4)),
    kind(
        timedelta, "long", st.timedeltas(timedelta(days=-106_000_000), timedelta(days=106_000_000))
    ),
    kind(NaiveDatetime, "long", st.datetimes()),
    kind(Size, "long", st.sampled_from(Size)),
    kind(State, "State", st.sampled_from(State)),
    kind(Unit, "Unit", st.sampled_from(Unit)),
    kind(Literal["a", "-"], "string", st.sampled_from("a-")),
    kind(Literal[0, 7], "long", st.sampled_from([0, 7])),
    Kind(Pet, frozenset({"Cat", "Dog"}), CATS | DOGS),
    kind(Colour, "Colour", st.sampled_from(Colour)),
    kind(Leaf, "Leaf", LEAVES),
    kind(Tree, "Tree", TREES),
]


def nested(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    inner = inner.filter(_takes_bytes)

    def array(item: Kind) -> Kind:
        return kind(list[item.annotation], "array", st.lists(item.values, max_size=3))

    def mapping(item: Kind) -> Kind:
        values = st.dictionaries(st.text(max_size=5), item.values, max_size=3)
        return kind(dict[str, item.annotation], "map", values)

    def optional(item: Kind) -> Kind:
        both = item.written_as | {"null"}
        return Kind(item.annotation | None, both, st.none() | item.values)

    def pair(items: tuple[Kind, Kind]) -> Kind:
        first, second = items
        values = st.tuples(first.values, second.values)
        # A tuple of one type is an array, of two it is a record.
        return kind(tuple[first.annotation, second.annotation], "array", values)

    def many(item: Kind) -> Kind:
        return kind(
            tuple[item.annotation, ...], "array", st.lists(item.values, max_size=3).map(tuple)
        )

    optionals = inner.filter(_may_be_none).map(optional)
    pairs = st.tuples(inner, inner).map(pair)
    return inner.map(array) | inner.map(mapping) | inner.map(many) | pairs | optionals | SETS


HASHABLE = [str, int, bool, bytes, datetime, date, UUID, Colour, State, Size]
SETS = st.sampled_from([item for item in SCALARS if item.annotation in HASHABLE]).flatmap(
    lambda item: st.sampled_from(
        [
            kind(set[item.annotation], "array", st.sets(item.values, max_size=3)),
            kind(frozenset[item.annotation], "array", st.frozensets(item.values, max_size=3)),
        ]
    )
)


def _takes_bytes(item: Kind) -> bool:
    return item.written_as != {"null"}


def _may_be_none(item: Kind) -> bool:
    return item.annotation is not None and item.written_as != {"null"}


def union(pair: tuple[Kind, Kind]) -> Kind:
    first, second = pair
    return Kind(
        first.annotation | second.annotation,
        first.written_as | second.written_as,
        first.values | second.values,
    )


def _unambiguous(pair: tuple[Kind, Kind]) -> bool:
    """Avro can hold both, and Pydantic can tell what comes back of one from the other."""
    first, second = pair
    both = first.written_as | second.written_as
    return (
        all(map(_may_be_none, pair))
        and not first.written_as & second.written_as
        and not ("map" in both and both & {"Leaf", "Tree", "Cat", "Dog"})
    )


KINDS = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: nested(inner) | st.tuples(inner, inner).filter(_unambiguous).map(union),
    max_leaves=4,
)


@st.composite
def messages(draw: st.DrawFn) -> BaseModel:
    strict = draw(st.booleans())
    kinds = draw(st.lists(KINDS, min_size=1, max_size=5))
    fields: dict[str, Any] = {}
    for index, drawn in enumerate(kinds):
        default = draw(st.just(...) | drawn.values)
        fields[f"field_{index}"] = (drawn.annotation, default)
    model = create_model("Generated", __config__=ConfigDict(strict=strict), **fields)
    values = {f"field_{index}": draw(drawn.values) for index, drawn in enumerate(kinds)}
    return model.model_construct(**values)
