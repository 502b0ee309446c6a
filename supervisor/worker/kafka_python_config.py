"""Translates librdkafka's configuration into kafka-python's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class UntranslatableError(Exception):
    """A property of the configuration has no equivalent in kafka-python; names the property."""


@dataclass(frozen=True, slots=True)
class Oidc:
    """Where an OAUTHBEARER token comes from (librdkafka's ``sasl.oauthbearer.*``).

    Attributes:
        url: The token endpoint.
        client_id: The client's name there.
        secret: The client's secret.
        scope: The scope to request, or "".
        extensions: SASL extensions, as "key=value,key=value".
    """

    url: str
    client_id: str
    secret: str = field(repr=False)
    scope: str = ""
    extensions: str = ""


_ALIASES = {
    "metadata.broker.list": "bootstrap.servers",
    "sasl.mechanisms": "sasl.mechanism",
}
"""librdkafka's second names of properties."""
_SAME_MEANING = {
    "bootstrap.servers": "bootstrap_servers",
    "client.id": "client_id",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
    "ssl.crl.location": "ssl_crlfile",
}
"""Properties whose values mean the same to kafka-python."""
_MECHANISMS = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"}
_UNTRANSLATABLE = {
    "enable.ssl.certificate.verification",
    "https.ca.location",
    "https.ca.pem",
    "oauth_cb",
    "sasl.oauthbearer.config",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.engine.location",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.providers",
    "ssl.sigalgs.list",
    "ssl_ca",
    "ssl_certificate",
    "ssl_key",
}
"""Properties that have no equivalent, and without which the client would connect in another way."""


def kafka_python_config(consumer: Mapping[str, Any]) -> dict[str, Any]:
    """Translate how a consumer connects to its brokers.

    Args:
        consumer: librdkafka's configuration (CONFIGURATION.md of librdkafka).

    Raises:
        UntranslatableError: Some of it has no equivalent.
    """
    properties = {_ALIASES.get(name, name): value for name, value in consumer.items()}
    protocol = str(properties.get("security.protocol", "plaintext")).upper()
    used = {name: value for name, value in properties.items() if _is_used(name, protocol)}
    _refuse_untranslatable(used)
    config: dict[str, Any] = {"security_protocol": protocol}
    for name, translated in _SAME_MEANING.items():
        if name in used:
            config[translated] = used[name]
    if protocol.endswith("SSL"):
        # librdkafka's default (since 2.0); its only other value is "none".
        algorithm = used.get("ssl.endpoint.identification.algorithm", "https")
        config["ssl_check_hostname"] = str(algorithm).lower() == "https"
    if protocol.startswith("SASL"):
        config |= _sasl(used)
    return config


def _is_used(name: str, protocol: str) -> bool:
    """Return whether a property has an effect under this security.protocol."""
    if name.startswith(("ssl", "enable.ssl")):
        return protocol.endswith("SSL")
    if name.startswith(("sasl", "oauth", "https")):
        return protocol.startswith("SASL")
    return True


def _refuse_untranslatable(used: Mapping[str, Any]) -> None:
    if used.get("ssl.ca.location") == "probe":
        raise UntranslatableError('kafka-python has no equivalent of ssl.ca.location = "probe"')
    for name in sorted(_UNTRANSLATABLE & used.keys()):
        value = used[name]
        if value is None or value == "":
            continue
        if name == "enable.ssl.certificate.verification" and _is_true(value):
            continue
        raise UntranslatableError(f"kafka-python has no equivalent of {name}")


def _is_true(value: Any) -> bool:
    return str(value).lower() in {"true", "1", "t"}


def _sasl(used: Mapping[str, Any]) -> dict[str, Any]:
    mechanism = str(used.get("sasl.mechanism", "GSSAPI")).upper()
    if mechanism not in _MECHANISMS:
        raise UntranslatableError(f"sasl.mechanism {mechanism} is not supported")
    config: dict[str, Any] = {"sasl_mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        config["sasl_oauth_token_provider"] = _oidc(used)
    return config


def _oidc(used: Mapping[str, Any]) -> Oidc:
    if str(used.get("sasl.oauthbearer.method", "default")).lower() != "oidc":
        raise UntranslatableError('of sasl.oauthbearer.method only "oidc" is supported')
    if str(used.get("sasl.oauthbearer.grant.type", "client_credentials")) != "client_credentials":
        raise UntranslatableError("kafka-python has no equivalent of sasl.oauthbearer.grant.type")
    credentials = "sasl.oauthbearer.client.credentials.client"
    client = "sasl.oauthbearer.client"
    required = (
        used.get("sasl.oauthbearer.token.endpoint.url"),
        used.get(f"{credentials}.id") or used.get(f"{client}.id"),
        used.get(f"{credentials}.secret") or used.get(f"{client}.secret"),
    )
    if not all(required):
        raise UntranslatableError("the token's endpoint, client id or secret is not given")
    url, client_id, secret = map(str, required)
    return Oidc(
        url,
        client_id,
        secret,
        scope=str(used.get("sasl.oauthbearer.scope", "")),
        extensions=str(used.get("sasl.oauthbearer.extensions", "")),
    )
