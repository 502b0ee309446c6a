"""Find the Avro names of classes and enum members. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enum import Enum

LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A name that the Avro specification allows; use it with ``fullmatch``."""


def full_name(cls: type) -> str:
    """Return the Avro name of a class: module, enclosing classes, and its own name.

    Enclosing functions are left out, and brackets of a generic become underscores. A class may
    set its name itself: ``__avro_name__ = "shop.Order"``.
    """
    explicit_name = cls.__dict__.get("__avro_name__")
    if isinstance(explicit_name, str):
        return explicit_name
    enclosing = cls.__qualname__.rpartition("<locals>.")[2].split(".")[:-1]
    parts = [*cls.__module__.split("."), *enclosing, cls.__name__]
    return ".".join(_legalised(part) for part in parts)


def short_name(name: str) -> str:
    """Return the part after the namespace, by which schema resolution matches named types."""
    return name.rpartition(".")[2]


def symbol_of(member: Enum) -> str:
    """Return a member's Avro symbol: its value if that is a legal Avro name, else its name.

    This depends on the one member only, so a new member does not change the others' symbols.
    """
    value = member.value
    legal = isinstance(value, str) and LEGAL_NAME.fullmatch(value)
    return str(value) if legal else member.name


def _legalised(part: str) -> str:
    replaced = re.sub(r"[^A-Za-z0-9_]", "_", part)
    return replaced if LEGAL_NAME.fullmatch(replaced) else f"_{replaced}"
