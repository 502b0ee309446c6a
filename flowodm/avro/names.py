"""What classes and fields are called in Avro. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enum import Enum

LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A name by the Avro specification; use it with ``fullmatch``."""


def full_name(cls: type) -> str:
    """The Avro name of a class: module, enclosing classes, and its own name.

    Enclosing functions leave no trace, and brackets of a generic become underscores. A class
    that says its name itself, as ``__avro_name__ = "shop.Order"``, has that one.
    """
    given = cls.__dict__.get("__avro_name__")
    if isinstance(given, str):
        return given
    enclosing = cls.__qualname__.rpartition("<locals>.")[2].split(".")[:-1]
    parts = [*cls.__module__.split("."), *enclosing, cls.__name__]
    return ".".join(_legalised(part) for part in parts)


def short_name(name: str) -> str:
    """The part after the namespace, by which schema resolution matches named types."""
    return name.rpartition(".")[2]


def symbol_of(member: Enum) -> str:
    """A member's Avro symbol: its value where that is a legal Avro name, else its own name.

    Decided for each member by itself, so that a new member leaves the others' symbols alone.
    """
    value = member.value
    legal = isinstance(value, str) and LEGAL_NAME.fullmatch(value)
    return str(value) if legal else member.name


def _legalised(part: str) -> str:
    replaced = re.sub(r"[^A-Za-z0-9_]", "_", part)
    return replaced if LEGAL_NAME.fullmatch(replaced) else f"_{replaced}"
