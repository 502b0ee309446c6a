"""Python's type annotations taken apart, as far as the mapping to Avro has to. Pure."""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType, Union

import typing_extensions
from pydantic import EncodedBytes, EncodedStr, Json
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# typing has its own since Python 3.12.
ALIASES = (
    typing_extensions.TypeAliasType,
    getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType),
)


@dataclass(frozen=True, slots=True)
class Bare:
    """A type without what is wrapped around it.

    Attributes:
        type: The type itself: a class, a generic, a union, or a named alias.
        metadata: What Annotated and Pydantic's Field said of it, in that order.
    """

    type: Any
    metadata: tuple[Any, ...] = ()


def bare(annotation: Any, metadata: Sequence[Any] = ()) -> Bare:
    """Take off Annotated and NewType.

    Args:
        annotation: As it stands in the class.
        metadata: What the field says of it besides.
    """
    found: list[Any] = []
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation, *more = typing.get_args(annotation)
            found[:0] = more
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            return Bare(annotation, (*found, *metadata))


def is_union(annotation: Any) -> bool:
    """Tell whether this is ``X | Y``, in either spelling."""
    return typing.get_origin(annotation) in {Union, types.UnionType}


def union_members(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[Bare]:
    """The types of a union, those of unions and Literals inside of it too.

    Named aliases stay closed, since they may be recursive.
    """
    taken = bare(annotation, metadata)
    if is_union(taken.type):
        for member in typing.get_args(taken.type):
            # A field's constraints hold for each of its types.
            yield from union_members(member, taken.metadata)
    elif typing.get_origin(taken.type) is Literal:
        yield from (Bare(kind) for kind in literal_types(taken.type))
    else:
        yield taken


def literal_types(annotation: Any) -> list[type]:
    """The types of a Literal's values, each once."""
    return list(dict.fromkeys(type(value) for value in typing.get_args(annotation)))


def in_avros_order(members: Sequence[Bare], default: Any) -> list[Bare]:
    """A union's types with the default's own first, else None first, else as written.

    Avro wants a union's default to be of its first type.
    """

    def rank(member: Bare) -> int:
        kind = typing.get_origin(member.type) or member.type
        is_none = kind is None or kind is type(None)
        if default is PydanticUndefined or default is None:
            return 3 if is_none else 4
        if kind is type(default):
            return 0
        if inspect.isclass(kind) and isinstance(default, kind):
            return 1
        if kind is float and type(default) is int:
            return 2
        return 3 if is_none else 4

    return sorted(members, key=rank)


def decimal_digits(metadata: Sequence[Any]) -> tuple[int | None, int | None]:
    """What ``Field(max_digits=..., decimal_places=...)`` says, None where it says nothing."""
    max_digits = decimal_places = None
    for said in _spread(metadata):
        max_digits = getattr(said, "max_digits", max_digits)
        decimal_places = getattr(said, "decimal_places", decimal_places)
    return max_digits, decimal_places


def decoded_by(metadata: Sequence[Any]) -> str | None:
    """What makes Pydantic decode a value (Json, Base64Bytes, ...), so that it would do so twice.

    What it has decoded once is in the message, and cannot be validated again.
    """
    for said in _spread(metadata):
        kind = said if inspect.isclass(said) else type(said)
        if issubclass(kind, Json | EncodedBytes | EncodedStr):
            return kind.__name__
    return None


def _spread(metadata: Sequence[Any]) -> Iterator[Any]:
    for said in metadata:
        if isinstance(said, FieldInfo):
            yield from _spread(said.metadata)
        else:
            yield said
