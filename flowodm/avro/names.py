"""What classes and fields are called in Avro. Pure."""

from __future__ import annotations

import re

LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A name by the Avro specification; use it with ``fullmatch``."""


def full_name(cls: type) -> str:
    """The Avro name of a class: module, enclosing classes, and its own name.

    Enclosing functions leave no trace, and brackets of a generic become underscores.
    """
    enclosing = cls.__qualname__.rpartition("<locals>.")[2].split(".")[:-1]
    parts = [*cls.__module__.split("."), *enclosing, cls.__name__]
    return ".".join(_legalised(part) for part in parts)


def short_name(name: str) -> str:
    """The part after the namespace, by which schema resolution matches named types."""
    return name.rpartition(".")[2]


def _legalised(part: str) -> str:
    replaced = re.sub(r"[^A-Za-z0-9_]", "_", part)
    return replaced if LEGAL_NAME.fullmatch(replaced) else f"_{replaced}"
