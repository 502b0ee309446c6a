"""Take Python's type annotations apart, as far as the mapping to Avro needs it. Pure."""

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

ALIASES = (
    typing_extensions.TypeAliasType,
    getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType),
)
"""The classes of named type aliases; typing has one since Python 3.12."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A type without Annotated and NewType around it.

    Attributes:
        type: The type itself: a class, a generic, a union, or a named alias.
        metadata: What Annotated and Pydantic's Field add to it, in that order.
    """

    type: Any
    metadata: tuple[Any, ...] = ()


def bare(annotation: Any, metadata: Sequence[Any] = ()) -> Bare:
    """Remove Annotated and NewType around a type.

    Args:
        annotation: The annotation in the class.
        metadata: What the field adds to it.
    """
    inner_metadata: list[Any] = []
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation, *more = typing.get_args(annotation)
            inner_metadata[:0] = more
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            return Bare(annotation, (*inner_metadata, *metadata))


def is_union(annotation: Any) -> bool:
    """Tell whether an annotation is ``X | Y`` or ``Union[X, Y]``."""
    return typing.get_origin(annotation) in {Union, types.UnionType}


def union_members(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[Bare]:
    """Yield the types of a union, including those of unions and Literals inside it.

    Named aliases are yielded as they are, since they may be recursive.
    """
    outer = bare(annotation, metadata)
    if is_union(outer.type):
        for member in typing.get_args(outer.type):
            # A field's constraints hold for each of its types.
            yield from union_members(member, outer.metadata)
    elif typing.get_origin(outer.type) is Literal:
        yield from (Bare(kind) for kind in literal_types(outer.type))
    else:
        yield outer


def literal_types(annotation: Any) -> list[type]:
    """Return the types of a Literal's values, each once."""
    return list(dict.fromkeys(type(value) for value in typing.get_args(annotation)))


def in_avros_order(members: Sequence[Bare], default: Any) -> list[Bare]:
    """Sort a union's types: the default's own type first, or else None, or else as written.

    Avro requires a union's default to be of its first type.
    """
    if default is PydanticUndefined or default is None:
        return sorted(members, key=lambda member: not _is_none(member))
    return sorted(members, key=lambda member: _distance(member, default))


def _is_none(member: Bare) -> bool:
    return member.type is None or member.type is type(None)


def _distance(member: Bare, default: Any) -> int:
    """Rank a type by how well a default fits it; 0 is best."""
    kind = typing.get_origin(member.type) or member.type
    if kind is type(default):
        return 0
    if inspect.isclass(kind) and isinstance(default, kind):
        return 1
    if kind is float and type(default) is int:
        return 2
    return 3 if _is_none(member) else 4


def decimal_digits(metadata: Sequence[Any]) -> tuple[int | None, int | None]:
    """Return ``max_digits`` and ``decimal_places`` of a Field; None for what it leaves out."""
    max_digits = decimal_places = None
    for constraint in _spread(metadata):
        max_digits = getattr(constraint, "max_digits", max_digits)
        decimal_places = getattr(constraint, "decimal_places", decimal_places)
    return max_digits, decimal_places


def decoded_by(metadata: Sequence[Any]) -> str | None:
    """Return the name of what makes Pydantic decode a value (Json, Base64Bytes, ...), or None.

    Reading would decode such a value a second time: the message holds it decoded already.
    """
    for constraint in _spread(metadata):
        kind = constraint if inspect.isclass(constraint) else type(constraint)
        if issubclass(kind, Json | EncodedBytes | EncodedStr):
            return kind.__name__
    return None


def _spread(metadata: Sequence[Any]) -> Iterator[Any]:
    for constraint in metadata:
        if isinstance(constraint, FieldInfo):
            yield from _spread(constraint.metadata)
        else:
            yield constraint
