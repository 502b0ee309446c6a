"""Read records from JSON lines, and write them as JSON lines. Pure.

The plain form is the message alone. An *envelope* has Kafka's other data too::

    {"topic": "orders", "partition": 0, "offset": 7, "timestamp": "2026-01-31T12:00:00.000+00:00",
     "key": "c-1", "headers": [["trace", "abc"]], "schema_id": 3, "value": {"order_id": 1}}

Bytes are text if they are UTF-8, otherwise ``{"base64": "..."}``. A value of null is a tombstone.
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
"""The fields of an envelope."""


class LineError(Exception):
    """A line is invalid; the text names the field, but quotes no value."""


@dataclass(frozen=True, slots=True)
class Line:
    """The record of one line.

    Attributes:
        message: The message; None for a tombstone.
        key: The record's key; None: the value of the model's ``key_field``.
        headers: The record's headers.
    """

    message: FlowBaseModel | None
    key: bytes | None = None
    headers: Headers = ()


def parse(text: bytes, model: type[FlowBaseModel], *, envelope: bool) -> Line:
    """Read a line.

    Args:
        text: The line.
        model: The class of the messages.
        envelope: Whether the line is an envelope.

    Raises:
        LineError: The line is not JSON, not an envelope, or not a message of the model.
    """
    if not envelope:
        return Line(_message(text, model))
    fields = _envelope(text)
    key = None if fields.get("key") is None else data_of(fields["key"], "key")
    headers = _headers(fields.get("headers") or ())
    if fields["value"] is not None:
        value = json.dumps(fields["value"]).encode()
        return Line(_message(value, model), key, headers)
    if key is None:
        raise LineError("a tombstone (a value of null) needs a key")
    return Line(None, key, headers)


def _envelope(text: bytes) -> dict[str, Any]:
    """Return the fields of an envelope, unchecked except for their names."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise LineError(f"not JSON: {_reason(error)}") from None
    if not isinstance(fields, dict) or "value" not in fields:
        raise LineError(
            'not an envelope: must be an object with "value", and optionally "key" and "headers"'
        )
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise LineError(f"not an envelope: unknown field {unknown[0]!r}")
    return fields


def _message(text: bytes, model: type[FlowBaseModel]) -> FlowBaseModel:
    try:
        return model.model_validate_json(text, by_alias=True, by_name=True)
    except ValidationError as error:
        # Pydantic's own text quotes the input, which may be secret.
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        place = ".".join(map(str, errors[0]["loc"]))
        more = f", and {len(errors) - 1} more" if errors[1:] else ""
        raise LineError(f"{place}: {errors[0]['msg']}{more}".removeprefix(": ")) from None


def _reason(error: ValueError) -> str:
    # The text of a UnicodeDecodeError quotes the line.
    return str(error) if isinstance(error, json.JSONDecodeError) else "it is not UTF-8"


def _headers(headers: Any) -> Headers:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not isinstance(pairs, list | tuple) or not all(map(_is_pair, pairs)):
        raise LineError("headers: must be an object or a list of [name, value] pairs")
    return tuple(
        (name, None if value is None else data_of(value, f"headers.{name}"))
        for name, value in pairs
    )


def _is_pair(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)  # noqa: PLR2004 - a pair


def data_of(value: Any, place: str) -> bytes:
    """Return the bytes that :func:`text_of` has written.

    Args:
        value: The JSON value.
        place: Its name, for the error's text.

    Raises:
        LineError: The value is neither text nor base64.
    """
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if isinstance(value, dict) and value.keys() == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise LineError(f"{place}: not valid base64") from None
    raise LineError(f'{place}: must be text, or {{"base64": "..."}}')


def text_of(data: bytes | None) -> Any:
    """Return bytes as a JSON value: text if they are UTF-8, otherwise base64."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def value_of(message: FlowBaseModel) -> Any:
    """Return a message as a JSON value.

    Raises:
        LineError: It holds bytes that are not text, and its class does not say how to write them.
    """
    try:
        return message.model_dump(mode="json")
    except ValueError as error:  # PydanticSerializationError, whose text may quote bytes
        raise LineError(
            f"{type(message).__name__} cannot be written as JSON: {type(error).__name__}; for "
            "bytes that are not text, give the class model_config = "
            'ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")'
        ) from None
