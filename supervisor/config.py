"""What a configuration may say: the models behind the TOML.

Nothing here reads files or the environment (`supervisor.toml` does), and nothing imports
flowodm: the supervising process stays free of Kafka and of the user's code.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator

from supervisor.consumer_table import ConsumerTable  # noqa: TC001 - Pydantic needs it at run time
from supervisor.values import (
    HostName,
    InstanceId,
    LogLevel,
    ModuleName,
    Options,
    PositiveSeconds,
    Table,
    parse_address,
)

_SECRET_OPTION = re.compile(r"password|secret|\.key$|key\.pem|token|oauthbearer\.config|jaas")


class SupervisorTable(Table):
    """[supervisor]: the daemon itself.

    Attributes:
        instance_id: Stable name of this supervisor among all that run the same consumers; the
            members' group.instance.id are built on it. None: the host's name.
        http: Address of /metrics, /healthz, /readyz and /status; port 0 takes a free one; ""
            for none.
        http_hosts: Further names that requests may ask for: see `supervisor.hosts`. Needed where
            the fleet is scraped by a full name, such as "shop.default.svc.cluster.local".
        control_socket: Path of the Unix socket for reload, restart, scale, status and stop; "auto"
            is one named after instance_id in the user's runtime folder; "" for none.
        drain_timeout: How long a worker may take to finish what it has when it is stopped.
        kill_delay: How long it may take after SIGTERM, which follows, before SIGKILL.
        preload: Modules that are imported once, in the process that workers are forked from.
            They must not start threads or open connections.
        log_level: Lowest level that is logged, by the supervisor and its workers.
        log_format: "json" lines, "console" for people, "auto" for console on a terminal.
    """

    instance_id: InstanceId | None = None
    http: str = Field(default="127.0.0.1:9108", examples=["127.0.0.1:9108"])
    http_hosts: tuple[HostName, ...] = Field(default=(), examples=[["fleet.example.org"]])
    control_socket: str = Field(default="auto", examples=["/run/flowodm/control.sock"])
    drain_timeout: PositiveSeconds = Field(default=30.0, examples=["30s"])
    kill_delay: PositiveSeconds = Field(default=5.0, examples=["5s"])
    preload: tuple[ModuleName, ...] = ()
    log_level: LogLevel = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

    @field_validator("http")
    @classmethod
    def _http(cls, value: str) -> str:
        if value:
            parse_address(value)
        return value

    @property
    def http_address(self) -> tuple[str, int] | None:
        """Host and port to serve on, or None."""
        return parse_address(self.http) if self.http else None


class KafkaTable(Table):
    """[kafka]: how workers reach Kafka and the schema registry.

    What is not set here comes from the environment, as flowodm.connect documents. Each secret
    can be given as NAME_file instead, the path of a file that holds it.

    Attributes:
        bootstrap_servers: Comma-separated "host:port".
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 …
        sasl_username: Name for SASL.
        sasl_password: Password for SASL.
        schema_registry_url: Base URL of the registry; without one, records are bare Avro.
        schema_registry_api_key: API key for the registry.
        schema_registry_api_secret: API secret for the registry.
        schema_registry_basic_auth_user_info: "user:password" for the registry.
        options: Any other librdkafka property, for consumers and producers alike.
    """

    bootstrap_servers: str | None = Field(default=None, examples=["localhost:9092"])
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] | None = None
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    schema_registry_url: str | None = None
    schema_registry_api_key: str | None = None
    schema_registry_api_secret: SecretStr | None = None
    schema_registry_basic_auth_user_info: SecretStr | None = None
    options: Options = Field(default_factory=dict, repr=False)

    def revealed(self) -> dict[str, Any]:
        """Everything that is set, secrets in the clear: for a worker, not for eyes."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
            if value is not None
        }

    def secrets(self) -> list[str]:
        """Every value that must not be shown."""
        return [
            value.get_secret_value()
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), SecretStr)
        ] + [value for name, value in self.options.items() if _SECRET_OPTION.search(name)]


ConsumerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class SupervisorConfig(Table):
    """A whole configuration. `supervisor.load_config` reads one from a file.

    Raises:
        pydantic.ValidationError: When made in Python from values that are wrong.
    """

    supervisor: SupervisorTable = Field(default_factory=SupervisorTable)
    kafka: KafkaTable = Field(default_factory=KafkaTable)
    consumers: dict[ConsumerName, ConsumerTable] = Field(min_length=1)

    def drain_timeout_of(self, consumer: str) -> float:
        """Seconds that a worker of this consumer may take to drain."""
        return self.consumers[consumer].drain_timeout or self.supervisor.drain_timeout
