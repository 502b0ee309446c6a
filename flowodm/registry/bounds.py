"""Bound what a registry answers: the size and the time of an answer, ids, versions, texts.

Confluent's client takes whatever comes with the status 200. Its HTTP library bounds each read from
the socket, but not their number, and unpacks compressed answers of any size.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flowodm.exceptions import SchemaRegistryError

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of an answer. Registries take schemas of 1 MB and less by default."""
ANSWER_TIMEOUT = 10.0
"""Seconds that the body of an answer may take to arrive."""
LARGEST_ID = 2**31 - 1
"""Ids and versions are signed 32-bit integers."""
MOST_LEVELS = 200
"""Levels of JSON objects and lists in a schema, whatever Python's own limit is."""
_LONGEST_TEXT = 500
"""Characters that an error quotes of an answer."""


def bound_answers(client: SchemaRegistryClient) -> None:
    """Have each answer read within the bounds of this module.

    Args:
        client: Confluent's client. One with another HTTP library (before 2.7) is left as it is.
    """
    session = getattr(getattr(client, "_rest_client", None), "session", None)
    hooks = getattr(session, "event_hooks", None)
    if session is None or not isinstance(hooks, dict):
        return
    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {**hooks, "response": [*hooks.get("response", ()), _read_bounded]}


def _read_bounded(response: Any) -> None:
    """Read an answer's body; the HTTP library calls this before it reads it itself."""
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        raise SchemaRegistryError(
            f"the answer is compressed ({shown(packed)}), though it was asked not to be"
        )
    deadline = time.monotonic() + ANSWER_TIMEOUT
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise SchemaRegistryError(f"the answer is larger than {MOST_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the answer took longer than {ANSWER_TIMEOUT:.0f} s")
    response._content = bytes(body)  # noqa: SLF001 - what read() itself would set, and return


def checked_id(schema_id: object, place: str) -> int:
    """Return a schema's id, or a version's number.

    Args:
        schema_id: What the registry answered in its place.
        place: The registry and what it was asked for.

    Raises:
        SchemaRegistryError: It is no id.
    """
    if type(schema_id) is int and 0 < schema_id <= LARGEST_ID:
        return schema_id
    raise SchemaRegistryError(f"{place}: the answer has no valid id, but {shown(schema_id)}")


def nests_too_deeply(value: Any) -> bool:
    """Return whether JSON data has more than `MOST_LEVELS` levels; without recursion."""
    stack = [(value, 0)]
    while stack:
        part, level = stack.pop()
        if level > MOST_LEVELS:
            return True
        if isinstance(part, dict):
            stack += [(inner, level + 1) for inner in part.values()]
        elif isinstance(part, list):
            stack += [(inner, level + 1) for inner in part]
    return False


def shown(value: object) -> str:
    """Return what an error may show of an answer: cut, and without control characters."""
    text = str(value)
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
