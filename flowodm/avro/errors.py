"""What went wrong with a record, in words that quote nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fastavro
from pydantic import ValidationError

from flowodm.avro.writer import ValueAtError
from flowodm.exceptions import DeserializationError, SerializationError

if TYPE_CHECKING:
    from pydantic import BaseModel


_NO_RESOLUTION = "the writer's schema does not resolve to the model's"


class TrailingBytesError(Exception):
    """A record goes on after its last field."""


class MismatchError(Exception):
    """The writer's schema does not resolve to the model's.

    Args:
        obstacle: Why not, as :func:`flowodm.avro.compatibility.obstacles` says it; "" if unknown.

    Attributes:
        field: Dotted path of the field at fault; None if unknown.
    """

    def __init__(self, obstacle: str) -> None:
        place, _, why = obstacle.partition(": ")
        super().__init__(f"{_NO_RESOLUTION}: {why}" if why else _NO_RESOLUTION)
        self.field = place.partition(".")[2] or None


class OtherRecordError(Exception):
    """A record of another kind, where one schema is for several kinds."""


def unread(model: type[BaseModel], error: Exception, schema_id: int | None) -> DeserializationError:
    """Why bytes are no message of the model."""
    if isinstance(error, ValidationError):
        return not_valid(model, error, schema_id)
    if isinstance(error, MismatchError):
        text, field = f"{model.__name__} cannot be read: {error}", error.field
        return DeserializationError(text, schema_id=schema_id, field=field)
    text = f"{model.__name__} cannot be read: {_reason(error)}"
    return DeserializationError(text, schema_id=schema_id)


def not_valid(
    model: type[BaseModel], error: ValidationError, schema_id: int | None
) -> DeserializationError:
    """What Pydantic refused, without its own text: that quotes the input, which may be secret."""
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    field = ".".join(map(str, first["loc"])) or None
    text = f"{model.__name__} is not valid: {first['msg']}"
    if more:
        text += f", and {len(more)} more"
    return DeserializationError(text, schema_id=schema_id, field=field)


# What an error of reading means, without fastavro's own words, which may quote bytes.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (OtherRecordError, "it is another kind of record"),
    (TrailingBytesError, "there are bytes after its last field"),
    (EOFError, "the bytes end too early"),
    (UnicodeDecodeError, "a string is not UTF-8"),
    (fastavro.read.SchemaResolutionError, _NO_RESOLUTION),
    (OverflowError, "a date or time is out of Python's range"),
    (IndexError, "a union or an enum has no such branch"),
)


def _reason(error: Exception) -> str:
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    return f"its bytes make no sense ({type(error).__name__})"


def unwritten(model: type[BaseModel], error: Exception) -> SerializationError:
    """Why a message cannot be written."""
    if isinstance(error, ValueAtError):
        return SerializationError(f"{model.__name__}.{error.path} cannot be written: {error}")
    # fastavro's TypeErrors name the field; its other errors may quote the value.
    reason = str(error) if isinstance(error, TypeError) else type(error).__name__
    return SerializationError(f"{model.__name__} cannot be written: {reason}")
