"""What generated classes, fields and enum members are called in Python. Pure.

A name stays as it is in the schema wherever Python and Pydantic allow it. A field that gets
another name keeps the schema's as its alias.
"""

from __future__ import annotations

import keyword
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

# Pydantic warns of fields that begin with these.
_PROTECTED = ("model_validate", "model_dump")
_ENUM_NAMES = frozenset(dir(StrEnum)) | {"mro", "name", "value"}


def field_names(names: Iterable[str], reserved: Container[str]) -> dict[str, str]:
    """Python's name for each Avro name of a record's fields.

    Args:
        names: The Avro names.
        reserved: Attributes that the fields' class has already.
    """
    return _spelled(list(names), reserved, "field")


def member_names(symbols: Iterable[str]) -> dict[str, str]:
    """Python's name for each symbol of an enum."""
    return _spelled(list(symbols), _ENUM_NAMES, "symbol")


def class_name(name: str, taken: Container[str]) -> str:
    """A class's name for an Avro name that is in no way of the names already taken."""
    wanted = _identifier(name, "record")
    if wanted in taken:
        wanted = wanted[0].upper() + wanted[1:]
    return free_name(wanted, taken)


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with as many underscores behind it as it takes to be free."""
    while name in taken:
        name += "_"
    return name


def _spelled(names: list[str], reserved: Container[str], prefix: str) -> dict[str, str]:
    # Names that may stay are given first, so that no other one takes their place.
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
    """The Avro name as a public identifier: a leading underscore is private to Pydantic."""
    public = name.lstrip("_")
    if not public or public[0].isdigit() or public.startswith(_PROTECTED):
        public = f"{prefix}_{public}"
    return f"{public}_" if keyword.iskeyword(public) else public
