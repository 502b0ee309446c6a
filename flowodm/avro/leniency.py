"""What a model can be read from although Avro's resolution has no rule for it. Pure.

Avro never reads a string as an enum, an enum as a string, or fixed bytes as bytes. Pydantic can
tell whether such a value is one of the model's, and schemas that others wrote by hand have them:
a status is a string there, and an Enum here.
"""

from __future__ import annotations

from typing import Any


def more_to_read(writers: list[Any], readers: list[Any]) -> list[Any]:
    """The writer's types that are to be read as they are, for Pydantic to make the model's of.

    Args:
        writers: The types that the writer has in one place: definitions, not names.
        readers: Those that the model has there.
    """
    kinds = {_kind(reader) for reader in readers}
    return [
        writer
        for writer in writers
        if _kind(writer) not in kinds and any(_takes(reader, writer) for reader in readers)
    ]


def _takes(reader: Any, writer: Any) -> bool:
    match _kind(writer), _kind(reader):
        case "string", "enum":
            return True
        case ("enum", "string") | ("fixed", "bytes") | ("fixed", "string"):
            # A number or a UUID in both, or in neither.
            return _logical(writer) == _logical(reader)
        case _:
            return False


def _kind(schema: Any) -> Any:
    return schema["type"] if isinstance(schema, dict) else schema


def _logical(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None
