"""Which Host headers the HTTP side answers. Pure.

A web page anywhere can have its own name resolve to this machine's address (DNS rebinding) and
then read, as if it were its own, what is served here to whoever asks. The browser still sends that
name as Host, so a name that nobody here uses is refused.

Answered are, on any port: IP addresses, which cannot be rebound; names without a dot, as a service
in Docker Compose or a host in its own network has, as nobody can own such a name on the internet;
localhost and what is below it; the names that the server was given: the one it was told to listen
on, the machine's own, and those that the operator adds.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

ANY = "*"
"""Among the names: every Host is answered."""


def answers(host: str, names: Collection[str]) -> bool:
    """Whether a request for this Host is one for us.

    Args:
        host: The header, with or without a port.
        names: Further names in lower case; ".example.org" stands for all names below it.
    """
    name = _name(host)
    if name is None:
        return False
    if ANY in names or "." not in name or name.endswith(".localhost") or _is_address(name):
        return True
    return any(name.endswith(known) if known.startswith(".") else name == known for known in names)


def _name(host: str) -> str | None:
    """The header's name or address in lower case; None if it is neither."""
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or not _is_address(name):
            return None
        return name if not port or _is_port(port) else None
    name, colon, port = host.partition(":")
    if not name or (colon and not _is_port(":" + port)):
        return None
    return name.removesuffix(".")


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and (text == ":" or text[1:].isdigit())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
