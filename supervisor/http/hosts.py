"""Which Host headers the HTTP server accepts. Pure.

Any web page can let its own name resolve to this machine's address (DNS rebinding), and then read
what is served here as if it were its own. The browser still sends that name as Host, so a name
that is not one of ours is refused.

Accepted, with any port, are: IP addresses, which cannot be rebound; names without a dot, such as
those of services in Docker Compose or of hosts in a local network, which cannot be registered on
the internet; localhost and names below it; and the server's own names: the one that it listens
on, the machine's, and those that the operator adds.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

ANY = "*"
"""Name that stands for every name."""


def answers(host: str, names: Collection[str]) -> bool:
    """Return whether a request with this Host header is accepted.

    Args:
        host: The header, with or without a port.
        names: The server's own names, in lower case; ".example.org" stands for all below it.
    """
    name = _name(host)
    if name is None:
        return False
    if "." not in name or name.endswith(".localhost") or _is_address(name):
        return True
    return any(_matches(name, pattern) for pattern in names)


def _matches(name: str, pattern: str) -> bool:
    if pattern == ANY:
        return True
    return name.endswith(pattern) if pattern.startswith(".") else name == pattern


def _name(host: str) -> str | None:
    """Return the header's name or address in lower case; None if it has neither."""
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        valid = bracket and _is_address(name) and _is_port(port)
    else:
        name, colon, port = host.partition(":")
        valid = name and _is_port(colon + port)
    return name.removesuffix(".") if valid else None


def _is_port(text: str) -> bool:
    """Return whether it is ":" and a number, ":" alone, or nothing."""
    number = text.removeprefix(":")
    if text and number == text:
        return False
    return not number or (number.isascii() and number.isdigit())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
