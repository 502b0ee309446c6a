"""Finding secrets, and replacing them in any text, in every form that they may take. Pure.

A secret is searched for as a piece of text, whatever the text is: a log line of user code, the
message of a Kafka client's error, a worker's account of its failure.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

REDACTED = "[redacted]"
SHORTEST_SECRET = 4
"""Characters; a shorter value is not searched for: replacing every "a" would hide nothing."""
_SHORTEST_LINE = 16
"""The same for one line of a secret of several lines, such as a private key."""
_PASSWORD_VARIABLES = (
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SSL_KEY_PASSWORD",
    "SCHEMA_REGISTRY_API_SECRET",
)
"""Environment variables that hold a password."""
_USER_INFO_VARIABLE = "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"
_URL_VARIABLE = "SCHEMA_REGISTRY_URL"
_SECRET_OPTION = re.compile(r"password|secret|\.key$|key\.pem|token|oauthbearer\.config|jaas")
"""Part of the name of a librdkafka property that holds a secret."""
_USER_IN_URL = re.compile(r"(?<=://)[^/?#\s]*@")


def of_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets that flowodm reads from the environment."""
    passwords = [environment[name] for name in _PASSWORD_VARIABLES if environment.get(name)]
    user_info = of_user_info(environment.get(_USER_INFO_VARIABLE, ""))
    return [*passwords, *user_info, *of_urls(environment.get(_URL_VARIABLE, ""))]


def of_user_info(user_info: str) -> list[str]:
    """Return what is secret in "user:password": the two together, and the password."""
    password = user_info.partition(":")[2]
    return [part for part in (user_info, password) if part]


def of_urls(urls: str) -> list[str]:
    """Return what is secret in URLs such as "https://user:password@host", with commas between."""
    secrets: list[str] = []
    for match in _USER_IN_URL.finditer(urls):
        quoted = match[0][:-1]
        for user_info in dict.fromkeys((quoted, unquote(quoted))):
            secrets += of_user_info(user_info)
    return secrets


def without_user(text: str) -> str:
    """Return a text without the users and passwords of its URLs."""
    return _USER_IN_URL.sub("", text)


def of_options(options: Mapping[str, object]) -> list[str]:
    """Return the secret values of librdkafka properties."""
    return [str(value) for name, value in options.items() if _SECRET_OPTION.search(name)]


class Redactor:
    """Replaces secrets in texts, in every form that they may take.

    Args:
        secrets: The first secrets; `hide` adds more.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms: tuple[str, ...] = ()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Replace these secrets too, from now on. May be called from any thread."""
        forms = {*self._forms, *(form for secret in secrets for form in _forms(secret))}
        # The longest first, because one secret may be part of another.
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """Return a text with `REDACTED` in place of each secret."""
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return text


def _forms(secret: str) -> Iterator[str]:
    """Yield every text by which a secret may be shown; none if the secret is too short."""
    if len(secret) < SHORTEST_SECRET:
        return
    yield secret
    # An object that holds the secret shows it with quotes and backslashes escaped.
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    if ":" in secret:  # "user:password", as HTTP's basic authentication sends it
        yield base64.b64encode(secret.encode(errors="surrogateescape")).decode()
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE and "-----" not in line)
