"""What must not be shown, and the forms in which it may turn up. Pure.

A secret is looked for as a piece of text, wherever it came from: a log line of the user's, the
message of an error of Kafka's client, what a worker says of its failure.
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
"""Characters below which a value is not searched for: replacing every "a" hides nothing."""
_SHORTEST_LINE = 16
"""The same for a single line of a secret that has several, such as a private key."""
_PASSWORDS = ("KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD", "SCHEMA_REGISTRY_API_SECRET")
_USER_INFO = "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"
_URL = "SCHEMA_REGISTRY_URL"
_SECRET_OPTION = re.compile(r"password|secret|\.key$|key\.pem|token|oauthbearer\.config|jaas")
_USER_IN_URL = re.compile(r"(?<=://)[^/?#\s]*@")


def of_environment(environment: Mapping[str, str]) -> list[str]:
    """The secrets that flowodm takes from the environment where nothing else gives them."""
    passwords = [environment[name] for name in _PASSWORDS if environment.get(name)]
    user_info = of_user_info(environment.get(_USER_INFO, ""))
    return [*passwords, *user_info, *of_urls(environment.get(_URL, ""))]


def of_user_info(user_info: str) -> list[str]:
    """What is secret in "user:password": the two together, and the password."""
    password = user_info.partition(":")[2]
    return [part for part in (user_info, password) if part]


def of_urls(urls: str) -> list[str]:
    """What is secret in addresses, separated by commas: "https://user:password@host"."""
    found: list[str] = []
    for match in _USER_IN_URL.finditer(urls):
        written = match[0][:-1]
        for user_info in dict.fromkeys((written, unquote(written))):
            found += of_user_info(user_info)
    return found


def without_user(text: str) -> str:
    """A text whose addresses have lost their users and passwords."""
    return _USER_IN_URL.sub("", text)


def of_options(options: Mapping[str, object]) -> list[str]:
    """The secrets among librdkafka's properties."""
    return [str(value) for name, value in options.items() if _SECRET_OPTION.search(name)]


class Redactor:
    """Replaces secrets in a text, in all their forms.

    Args:
        secrets: Those that are known from the beginning.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms: tuple[str, ...] = ()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Replace these too, from now on. From any thread."""
        forms = {*self._forms, *(form for secret in secrets for form in _forms(secret))}
        # The longest first: one secret may be part of another.
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return text


def _forms(secret: str) -> Iterator[str]:
    if len(secret) < SHORTEST_SECRET:
        return
    yield secret
    # As an object that holds it shows it: with quotes and backslashes escaped.
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    if ":" in secret:  # "user:password", as HTTP's basic authentication sends it
        yield base64.b64encode(secret.encode(errors="surrogateescape")).decode()
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE and "-----" not in line)
