"""[kafka], and [consumers.NAME.kafka] over it: how workers reach Kafka and the registry."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr

from supervisor import redaction
from supervisor.config.values import Options, Table

_SAME = {
    "bootstrap_servers": ("bootstrap.servers", "metadata.broker.list"),
    "security_protocol": ("security.protocol",),
    "sasl_mechanism": ("sasl.mechanism", "sasl.mechanisms"),
    "sasl_username": ("sasl.username",),
    "sasl_password": ("sasl.password",),
}
"""Keys, and the librdkafka properties of the same meaning, which win within one table."""
_USER_INFO = "schema_registry_basic_auth_user_info"
_KEY_AND_SECRET = ("schema_registry_api_key", "schema_registry_api_secret")


class KafkaTable(Table):
    """[kafka]: how workers reach Kafka and the schema registry.

    A key that is not written comes from the environment, as flowodm.connect documents. A secret
    NAME can also be given as NAME_file, the path of a file that holds it.
    """

    bootstrap_servers: str | None = Field(
        default=None,
        description='Addresses of brokers, "host:port" with commas between them.',
        examples=["localhost:9092"],
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] | None = Field(
        default=None,
        description="Protocol of the brokers: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    )
    sasl_mechanism: str | None = Field(
        default=None,
        description="SASL mechanism, such as PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.",
    )
    sasl_username: str | None = Field(default=None, description="User name for SASL.")
    sasl_password: SecretStr | None = Field(default=None, description="Password for SASL.")
    schema_registry_url: str | None = Field(
        default=None,
        repr=False,
        description="URL of the schema registry. Without it records are Avro alone, without the "
        "registry's header.",
        examples=["http://localhost:8081"],
    )
    schema_registry_api_key: str | None = Field(
        default=None, description="API key for the schema registry."
    )
    schema_registry_api_secret: SecretStr | None = Field(
        default=None, description="API secret for the schema registry."
    )
    schema_registry_basic_auth_user_info: SecretStr | None = Field(
        default=None, description='"user:password" for the schema registry.'
    )
    options: Options = Field(
        default_factory=dict,
        repr=False,
        description="Any other librdkafka property, for consumers and producers.",
    )

    def revealed(self) -> dict[str, Any]:
        """Return every value that is set, with secrets in the clear, for a worker."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
            if value is not None
        }

    def secrets(self) -> list[str]:
        """Return every value that must not be shown."""
        values = [
            value.get_secret_value()
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), SecretStr)
        ]
        values += redaction.of_options(self.options)
        if self.schema_registry_basic_auth_user_info is not None:
            user_info = self.schema_registry_basic_auth_user_info.get_secret_value()
            values += redaction.of_user_info(user_info)
        values += redaction.of_urls(self.schema_registry_url or "")
        return list(dict.fromkeys(values))

    def over(self, common: KafkaTable) -> KafkaTable:
        """Merge two tables: a key that is set here wins over the one that all consumers share."""
        mine = {name: getattr(self, name) for name in self.model_fields_set}
        theirs = {name: getattr(common, name) for name in common.model_fields_set}
        if mine.keys() & set(_KEY_AND_SECRET):
            theirs.pop(_USER_INFO, None)  # flowodm would prefer it
        hidden = {option for name in mine.keys() & _SAME.keys() for option in _SAME[name]}
        options = {name: value for name, value in common.options.items() if name not in hidden}
        merged = {**theirs, **mine, "options": {**options, **self.options}}
        return KafkaTable.model_validate(merged)
