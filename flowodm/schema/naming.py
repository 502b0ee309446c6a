"""Choose the Python names of generated classes, fields and enum members. Pure.

A name is the schema's wherever Python and Pydantic allow it. A field with another name has the
schema's as its alias.
"""

from __future__ import annotations

import keyword
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

_PROTECTED = ("model_validate", "model_dump")
"""Pydantic warns of fields whose names begin with these."""

_ENUM_NAMES = frozenset(dir(StrEnum)) | {"mro", "name", "value"}


def field_names(names: Iterable[str], reserved: Container[str]) -> dict[str, str]:
    """Return the Python name for each Avro name of a record's fields.

    Args:
        names: The Avro names.
        reserved: Attributes that the class of the fields already has.
    """
    return _spelled(list(names), reserved, "field")


def member_names(symbols: Iterable[str]) -> dict[str, str]:
    """Return the Python name for each symbol of an enum."""
    return _spelled(list(symbols), _ENUM_NAMES, "symbol")


def class_name(name: str, taken: Container[str]) -> str:
    """Return the Python name of a class for an Avro name, different from the names taken."""
    wanted = _identifier(name, "record")
    if wanted in taken:
        wanted = wanted[0].upper() + wanted[1:]
    return free_name(wanted, taken)


def free_name(name: str, taken: Container[str]) -> str:
    """Return the name, followed by as many underscores as are needed to make it free."""
    while name in taken:
        name += "_"
    return name


def _spelled(names: list[str], reserved: Container[str], prefix: str) -> dict[str, str]:
    # Names that need no change come first, so that no other name takes their place.
    spelled = {
        name: name for name in names if _identifier(name, prefix) == name and name not in reserved
    }
    taken = set(spelled)
    for name in names:
        if name not in spelled:
            wanted = _identifier(name, prefix)
            while wanted in taken or wanted in reserved:
                wanted += "_"
            taken.add(wanted)
            spelled[name] = wanted
    return {name: spelled[name] for name in names}


def _identifier(name: str, prefix: str) -> str:
    """Return the Avro name as an identifier without a leading underscore, private to Pydantic."""
    public = name.lstrip("_")
    if not public or public[0].isdigit() or public.startswith(_PROTECTED):
        public = f"{prefix}_{public}"
    return f"{public}_" if keyword.iskeyword(public) else public
