"""Records as JSON lines, both ways. Pure.

The plain form is the message alone. An *envelope* has what Kafka knows besides::

    {"topic": "orders", "partition": 0, "offset": 7, "timestamp": "2026-01-31T12:00:00.000+00:00",
     "key": "c-1", "headers": [["trace", "abc"]], "schema_id": 3, "value": {"order_id": 1}}

Bytes are text where they are UTF-8, else ``{"base64": "..."}``. A value of null is a tombstone.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    from flowodm.consumer.dead_letters.headers import Headers
    from flowodm.model import FlowBaseModel

_FIELDS = {"topic", "partition", "offset", "timestamp", "key", "headers", "schema_id", "value"}


class LineError(Exception):
    """A line is not what it should be; the text says which field, and holds no value."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one line asks for.

    Attributes:
        message: The message; None for a tombstone.
        key: The record's key; None for that of the model's ``key_field``.
        headers: The record's headers.
    """

    message: FlowBaseModel | None
    key: bytes | None = None
    headers: Headers = ()


def parse(text: bytes, model: type[FlowBaseModel], *, envelope: bool) -> Line:
    """Read a line.

    Raises:
        LineError: It is no JSON, no envelope, or no message of the model.
    """
    if not envelope:
        return Line(_message(text, model))
    try:
        said = json.loads(text)
    except ValueError as error:
        raise LineError(f"no JSON: {_syntax(error)}") from None
    if not isinstance(said, dict) or "value" not in said:
        raise LineError(
            'no envelope: it is an object with "value" and, if you like, "key" and more'
        )
    unknown = sorted(said.keys() - _FIELDS)
    if unknown:
        raise LineError(f"no envelope: there is no {unknown[0]!r} in one")
    key = None if said.get("key") is None else data_of(said["key"], "key")
    headers = _headers(said.get("headers") or ())
    if said["value"] is not None:
        value = json.dumps(said["value"]).encode()
        return Line(_message(value, model), key, headers)
    if key is None:
        raise LineError("a tombstone (a value of null) needs a key")
    return Line(None, key, headers)


def _message(text: bytes, model: type[FlowBaseModel]) -> FlowBaseModel:
    try:
        return model.model_validate_json(text, by_alias=True, by_name=True)
    except ValidationError as error:
        # Pydantic's own text quotes the input, which may be secret.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        place = ".".join(map(str, found[0]["loc"]))
        more = f", and {len(found) - 1} more" if found[1:] else ""
        raise LineError(f"{place}: {found[0]['msg']}{more}".removeprefix(": ")) from None


def _syntax(error: ValueError) -> str:
    # The text of a UnicodeDecodeError quotes the line.
    return str(error) if isinstance(error, json.JSONDecodeError) else "it is not UTF-8"


def _headers(said: Any) -> Headers:
    pairs = list(said.items()) if isinstance(said, dict) else said
    if not isinstance(pairs, list | tuple) or not all(map(_is_pair, pairs)):
        raise LineError("headers: an object, or a list of [name, value]")
    return tuple(
        (name, None if value is None else data_of(value, f"headers.{name}"))
        for name, value in pairs
    )


def _is_pair(said: Any) -> bool:
    return isinstance(said, list | tuple) and len(said) == 2 and isinstance(said[0], str)  # noqa: PLR2004 - a pair


def data_of(said: Any, place: str) -> bytes:
    """The bytes that :func:`text_of` has shown.

    Raises:
        LineError: It is neither text nor base64.
    """
    if isinstance(said, str):
        return said.encode(errors="surrogatepass")
    if isinstance(said, dict) and said.keys() == {"base64"}:
        try:
            return base64.b64decode(said["base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise LineError(f"{place}: that is no base64") from None
    raise LineError(f'{place}: text, or {{"base64": "..."}}')


def text_of(data: bytes | None) -> Any:
    """Bytes for JSON: text where they are UTF-8."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def value_of(message: FlowBaseModel) -> Any:
    """A message for JSON.

    Raises:
        LineError: It holds bytes that are no text, and does not say how to show them.
    """
    try:
        return message.model_dump(mode="json")
    except ValueError as error:  # PydanticSerializationError, whose text may quote bytes
        raise LineError(
            f"{type(message).__name__} has no JSON: {type(error).__name__}; for bytes that are no "
            'text, give the class model_config = ConfigDict(ser_json_bytes="base64", '
            'val_json_bytes="base64")'
        ) from None
