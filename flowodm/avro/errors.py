"""Describe why a record cannot be read or written, without quoting its values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fastavro
from pydantic import ValidationError

from flowodm.exceptions import DeserializationError, SerializationError

if TYPE_CHECKING:
    from pydantic import BaseModel


_NO_RESOLUTION = "the writer's schema does not resolve to the model's"


class TrailingBytesError(Exception):
    """A record has bytes after its last field."""


class MismatchError(Exception):
    """The writer's schema does not resolve to the model's.

    Args:
        obstacle: A reason of :func:`flowodm.avro.compatibility.obstacles`; "" if unknown.

    Attributes:
        field: Dotted path of the field at fault; None if unknown.
    """

    def __init__(self, obstacle: str) -> None:
        place, _, reason = obstacle.partition(": ")
        super().__init__(f"{_NO_RESOLUTION}: {reason}" if reason else _NO_RESOLUTION)
        self.field = place.partition(".")[2] or None


class ValueAtError(ValueError):
    """A value that its schema does not allow.

    Attributes:
        path: Dotted path of the value.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class TooDeepError(Exception):
    """A record nests more levels than may be given to code that recurses.

    Args:
        most: The most levels.
    """

    def __init__(self, most: int) -> None:
        super().__init__(f"it nests more than {most} levels deep")


class OtherRecordError(Exception):
    """A record of another type than the model, written with a union of several types."""


def unread(model: type[BaseModel], error: Exception, schema_id: int | None) -> DeserializationError:
    """Return the error for bytes that cannot be read as the model."""
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
    """Return the error for a message that Pydantic refused, without quoting the input."""
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    field = ".".join(map(str, first["loc"])) or None
    text = f"{model.__name__} is not valid: {first['msg']}"
    if more:
        text += f", and {len(more)} more"
    return DeserializationError(text, schema_id=schema_id, field=field)


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (OtherRecordError, "it is another kind of record"),
    (TrailingBytesError, "there are bytes after its last field"),
    (EOFError, "the bytes end too early"),
    (UnicodeDecodeError, "a string is not UTF-8"),
    (fastavro.read.SchemaResolutionError, _NO_RESOLUTION),
    (OverflowError, "a date or time is out of Python's range"),
    (IndexError, "the index of a union's branch or of an enum's symbol is out of range"),
)
"""What each exception means; fastavro's own texts may quote bytes of the record."""


def _reason(error: Exception) -> str:
    if isinstance(error, TooDeepError):
        return str(error)
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    return f"its bytes are not valid Avro ({type(error).__name__})"


def unwritten(model: type[BaseModel], error: Exception) -> SerializationError:
    """Return the error for a message that cannot be written."""
    if isinstance(error, ValueAtError):
        return SerializationError(f"{model.__name__}.{error.path} cannot be written: {error}")
    # fastavro's TypeErrors name the field; its other errors may quote the value.
    reason = str(error) if isinstance(error, TypeError) else type(error).__name__
    return SerializationError(f"{model.__name__} cannot be written: {reason}")
