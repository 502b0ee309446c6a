"""Read schemas from .avsc files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowodm.exceptions import SchemaValidationError

if TYPE_CHECKING:
    from os import PathLike


def load_schema_from_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Read an .avsc file: a schema in Avro's JSON form, unchanged.

    Raises:
        FileNotFoundError: There is no such file.
        json.JSONDecodeError: The file is not JSON.
        SchemaValidationError: The file is not UTF-8, or does not hold a JSON object.
    """
    try:
        # With or without the byte order mark that editors on Windows write.
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchemaValidationError(f"{path} is not UTF-8: {error.reason}") from None
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(f"{path} is not JSON: {error.msg}", text, error.pos) from None
    except RecursionError:
        raise SchemaValidationError(f"{path} nests too deeply") from None
    if not isinstance(schema, dict):
        raise SchemaValidationError(f"{path}: an .avsc file holds one schema, a JSON object")
    return schema
