"""Complete and check the properties of Confluent's registry client, and hide its credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from flowodm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_TIMEOUT = 5.0
"""Seconds that each phase of a request (connect, send, wait for an answer) may take."""


DEFAULTS = {
    "timeout": REQUEST_TIMEOUT,
    "max.retries": 1,
    "retries.wait.ms": 100,
    "retries.max.wait.ms": 100,
}
"""Properties of Confluent's client, unless given.

The one retry is for a kept-alive connection that the server has closed. If the registry is down,
the caller waits, since it can keep polling.
"""


USER_INFO = re.compile(r"[^\s,]*@")
"""User and password in a text with one address or several."""


def seconds_of(timeout: object) -> float:
    """Return the time-out of a phase; a wrong one is refused when the client is made."""
    if isinstance(timeout, int | float) and timeout > 0:
        return float(timeout)
    return REQUEST_TIMEOUT


def check_timeout(seconds: object) -> None:
    """Check what Confluent's client checks only at a request; None would be no time-out at all."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise TypeError("timeout must be a number of seconds above 0")


def with_static_token(config: Mapping[str, Any]) -> dict[str, Any]:
    """Add the properties that Confluent's client requires beside a fixed token."""
    if "bearer.auth.token" not in config or "bearer.auth.credentials.source" in config:
        return dict(config)
    source = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": ""}
    return {**source, **config}


def with_credentials_apart(config: dict[str, Any]) -> dict[str, Any]:
    """Move user and password out of the addresses, which the HTTP library logs unchanged."""
    addresses = str(config.get("url", "")).split(",")
    try:
        parts = [urlsplit(address.strip()) for address in addresses]
    except ValueError:  # its text may quote the password
        name = without_credentials(str(config["url"]))
        raise ConfigurationError(f"the schema registry's address is not a URL: {name}") from None
    users = [f"{unquote(p.username)}:{unquote(p.password or '')}" for p in parts if p.username]
    if not users:
        return config
    bare = ",".join(p._replace(netloc=p.netloc.rpartition("@")[2]).geturl() for p in parts)
    if any(name.startswith("bearer.") for name in config):
        return {**config, "url": bare}
    return {"basic.auth.user.info": users[0], **config, "url": bare}


def without_credentials(urls: str) -> str:
    """Return the address without user and password, and rather less than with a part of them."""
    return re.sub(r"^(\w+://)?.*@", r"\1", urls)
