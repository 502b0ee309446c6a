"""The options of a connection: the arguments of connect(), or else the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from flowodm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from flowodm.tracing import Tracing

_ENVIRONMENT = {
    "bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "security_protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl_mechanism": "KAFKA_SASL_MECHANISM",
    "sasl_username": "KAFKA_SASL_USERNAME",
    "sasl_password": "KAFKA_SASL_PASSWORD",
    "ssl_ca_location": "KAFKA_SSL_CA_LOCATION",
    "ssl_certificate_location": "KAFKA_SSL_CERTIFICATE_LOCATION",
    "ssl_key_location": "KAFKA_SSL_KEY_LOCATION",
    "ssl_key_password": "KAFKA_SSL_KEY_PASSWORD",
    "schema_registry_url": "SCHEMA_REGISTRY_URL",
    "schema_registry_api_key": "SCHEMA_REGISTRY_API_KEY",
    "schema_registry_api_secret": "SCHEMA_REGISTRY_API_SECRET",
    "schema_registry_basic_auth_user_info": "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO",
}
_PROPERTIES = {
    "bootstrap.servers": "bootstrap_servers",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_username",
    "sasl.password": "sasl_password",
    "ssl.ca.location": "ssl_ca_location",
    "ssl.certificate.location": "ssl_certificate_location",
    "ssl.key.location": "ssl_key_location",
    "ssl.key.password": "ssl_key_password",
}

librdkafka_logger = logging.getLogger("flowodm.librdkafka")


@dataclass(frozen=True)
class ConnectOptions:
    """The arguments of :func:`flowodm.connection.connect`; empty values count as None."""

    bootstrap_servers: str | None = None
    security_protocol: str | None = None
    sasl_mechanism: str | None = None
    sasl_username: str | None = field(default=None, repr=False)
    sasl_password: str | None = field(default=None, repr=False)
    schema_registry_url: str | None = field(default=None, repr=False)
    schema_registry_api_key: str | None = field(default=None, repr=False)
    schema_registry_api_secret: str | None = field(default=None, repr=False)
    schema_registry_basic_auth_user_info: str | None = field(default=None, repr=False)
    producer_config: Mapping[str, Any] | None = field(default=None, repr=False)
    consumer_config: Mapping[str, Any] | None = field(default=None, repr=False)
    schema_registry_config: Mapping[str, Any] | None = field(default=None, repr=False)
    kafka_config: Mapping[str, Any] | None = field(default=None, repr=False)
    ssl_ca_location: str | None = None
    ssl_certificate_location: str | None = None
    ssl_key_location: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    tracing: Tracing | None = None

    def updated_by(self, later: ConnectOptions) -> ConnectOptions:
        """Return these options with the values that are set in the later ones."""
        values: dict[str, Any] = {}
        for option in fields(later):
            value = getattr(later, option.name)
            if value:
                # A copy, as the caller may change its dictionary. A shallow one: the objects
                # behind callbacks cannot be copied, or must not be.
                values[option.name] = dict(value) if isinstance(value, Mapping) else value
        return replace(self, **values)

    def addresses(self) -> tuple[str | None, str | None]:
        """Return Kafka's address and the registry's; the registry's URL may hold a password."""
        kafka, registry = self.kafka_config or {}, self.schema_registry_config or {}
        return (
            kafka.get("bootstrap.servers") or self._get("bootstrap_servers"),
            registry.get("url") or self._get("schema_registry_url"),
        )

    def properties(self, config: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return librdkafka's properties for one kind of client: ``kafka_config``, then these."""
        return {**(self.kafka_config or {}), **(config or {})}

    def kafka(self, kind: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return the complete librdkafka configuration of a client.

        Args:
            kind: "producer" or "consumer", for the error's text.
            extra: Properties that win over all options.

        Raises:
            ConfigurationError: There is no address of Kafka.
        """
        config: dict[str, Any] = {"logger": librdkafka_logger}
        for prop, name in _PROPERTIES.items():
            value = self._get(name)
            if value:
                config[prop] = value
        config.update(extra)
        if not config.get("bootstrap.servers"):
            raise ConfigurationError(
                f"no address of Kafka for a {kind}: set KAFKA_BOOTSTRAP_SERVERS, "
                "or call connect(bootstrap_servers=...)"
            )
        return config

    def registry(self) -> dict[str, Any] | None:
        """Return the configuration of Confluent's registry client; None without an address.

        Raises:
            ConfigurationError: The API key or its secret is missing.
        """
        config: dict[str, Any] = {}
        url = self._get("schema_registry_url")
        if url:
            config["url"] = url
        properties = self.schema_registry_config or {}
        # Confluent's client refuses a configuration with both kinds of authentication.
        if not any(name.startswith("bearer.") for name in properties):
            # A user in the URL wins over one in the environment, and an argument over both.
            has_user = "@" in (properties.get("url") or url or "")
            config.update(self._basic_authentication(self._argument if has_user else self._get))
        config.update(properties)
        return config if config.get("url") else None

    @staticmethod
    def _basic_authentication(get: Callable[[str], str | None]) -> dict[str, str]:
        user_info = get("schema_registry_basic_auth_user_info")
        key, secret = get("schema_registry_api_key"), get("schema_registry_api_secret")
        if user_info:
            return {"basic.auth.user.info": user_info}
        if key and secret:
            return {"basic.auth.user.info": f"{key}:{secret}"}
        if key or secret:
            raise ConfigurationError(
                "the schema registry needs both API key and secret: set SCHEMA_REGISTRY_API_KEY "
                "and SCHEMA_REGISTRY_API_SECRET, or give both to connect()"
            )
        return {}

    def _argument(self, name: str) -> str | None:
        return getattr(self, name) or None

    def _get(self, name: str) -> str | None:
        return self._argument(name) or os.environ.get(_ENVIRONMENT[name]) or None
