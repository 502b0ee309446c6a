"""Changes of a schema, and which way records can be read across each."""

from __future__ import annotations

from typing import Any, NamedTuple


class Change(NamedTuple):
    """``backward``: the new schema reads old records. ``forward``: the old one reads new ones.

    ``reasons`` are parts of what is said about each way that is closed.
    """

    old: Any
    new: Any
    backward: bool
    forward: bool
    reasons: tuple[str, ...] = ()


def order(*fields: Any, name: str = "Order", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "shop", "fields": list(fields), **more}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def of(kind: Any) -> dict[str, Any]:
    """A record with one field of this type."""
    return order(field("value", kind))


def colours(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Colour", "symbols": list(symbols), **more}


def bytes_of(size: int) -> dict[str, Any]:
    return {"type": "fixed", "name": "Hash", "size": size}


ID = field("id", "string")
INNER = {"type": "record", "name": "Inner", "fields": [field("a", "int")]}
WIDER = {"type": "record", "name": "Inner", "fields": [field("a", "int"), field("b", "int")]}
LIST = {"type": "array", "items": "int"}
LONG_LIST = {"type": "array", "items": "long"}
MAP = {"type": "map", "values": "string"}
NODE = field("next", ["null", "Order"], default=None)

CHANGES: dict[str, Change] = {
    "none": Change(order(ID), order(ID), True, True),
    "another namespace": Change(order(ID), {**order(ID), "namespace": "other"}, True, True),
    "another name": Change(order(ID), order(ID, name="Sale"), False, False, ("Order is not",)),
    "another name with an alias": Change(
        order(ID), order(ID, name="Sale", aliases=["shop.Order"]), True, False, ("Sale is not",)
    ),
    "field with default added": Change(
        order(ID), order(ID, field("more", "int", default=0)), True, True
    ),
    "field without default added": Change(
        order(ID), order(ID, field("more", "int")), False, True, ("Order.more: the writer has no",)
    ),
    "optional field without default added": Change(
        order(ID), order(ID, field("more", ["null", "int"])), False, True, ("Order.more",)
    ),
    "field without default removed": Change(
        order(ID, field("more", "int")), order(ID), True, False, ("Order.more",)
    ),
    "field renamed": Change(
        order(ID), order(field("key", "string")), False, False, ("Order.key", "Order.id")
    ),
    "field renamed with an alias": Change(
        order(ID), order(field("key", "string", aliases=["id"])), True, False, ("Order.id",)
    ),
    "int to long": Change(of("int"), of("long"), True, False, ("Order.value: long cannot",)),
    "int to double": Change(of("int"), of("double"), True, False, ("double cannot be read",)),
    "long to float": Change(of("long"), of("float"), True, False, ("float cannot",)),
    "string to bytes": Change(of("string"), of("bytes"), True, True),
    "int to string": Change(of("int"), of("string"), False, False, ("int cannot", "string cannot")),
    "null allowed": Change(
        of("string"), of(["null", "string"]), True, False, ("Order.value: null cannot be read as",)
    ),
    "branch added": Change(
        of(["null", "int"]), of(["null", "int", "string"]), True, False, ("string is written",)
    ),
    "branch promoted": Change(of(["null", "int"]), of(["null", "long"]), True, False, ("value",)),
    "union to its only branch": Change(of(["int"]), of("int"), True, True),
    "symbol added": Change(
        of(colours("RED")), of(colours("RED", "BLUE")), True, False, ("symbol BLUE",)
    ),
    "symbol added to an enum with a default": Change(
        of(colours("RED", default="RED")), of(colours("RED", "BLUE", default="RED")), True, True
    ),
    "symbol removed": Change(
        of(colours("RED", "BLUE")), of(colours("RED")), False, True, ("symbol BLUE",)
    ),
    "fixed made longer": Change(of(bytes_of(2)), of(bytes_of(3)), False, False, ("2 bytes", "3 b")),
    "items promoted": Change(of(LIST), of(LONG_LIST), True, False, ("Order.value[]: long",)),
    "map to array": Change(of(MAP), of(LIST), False, False, ("map cannot", "array cannot")),
    "field added within": Change(of(INNER), of(WIDER), False, True, ("Order.value.b",)),
    "field added within an optional record": Change(
        of(["null", INNER]), of(["null", WIDER]), False, True, ("Order.value.b",)
    ),
    "field added to a record within itself": Change(
        order(NODE), order(NODE, field("more", "int", default=0)), True, True
    ),
    "field without default added to a record within itself": Change(
        order(NODE), order(NODE, field("more", "int")), False, True, ("Order.more",)
    ),
    "date made of an int": Change(
        of("int"), of({"type": "int", "logicalType": "date"}), True, True
    ),
}
