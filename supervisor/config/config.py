"""What a configuration may say: the models behind the TOML.

Nothing here reads files or the environment (`supervisor.config.toml` does), and nothing imports
flowodm: the supervising process stays free of Kafka and of the user's code.
"""

from __future__ import annotations

import socket
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from supervisor.config.consumer import ConsumerTable  # noqa: TC001 - Pydantic needs it at run time
from supervisor.config.defaults import DefaultsTable, inherited
from supervisor.config.kafka import KafkaTable
from supervisor.config.values import (
    HostName,
    InstanceId,
    LogLevel,
    ModuleName,
    PositiveSeconds,
    Table,
    parse_address,
)


class SupervisorTable(Table):
    """[supervisor]: the daemon itself.

    Attributes:
        instance_id: Stable name of this supervisor among all that run the same consumers; the
            members' group.instance.id are built on it. None: the host's name.
        http: Address of /metrics, /healthz, /readyz and /status; port 0 takes a free one; ""
            for none.
        http_hosts: Further names that requests may ask for: see `supervisor.http.hosts`. Needed
            where the fleet is scraped by a full name, such as "shop.default.svc.cluster.local".
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
    def own_name(self) -> str:
        """This supervisor's name: instance_id, or the host's name."""
        return self.instance_id or socket.gethostname()

    @property
    def http_address(self) -> tuple[str, int] | None:
        """Host and port to serve on, or None."""
        return parse_address(self.http) if self.http else None


ConsumerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class SupervisorConfig(Table):
    """A whole configuration. `supervisor.load_config` reads one from a file.

    Attributes:
        supervisor: The daemon itself.
        kafka: How workers reach Kafka and the schema registry.
        defaults: What holds for every consumer that does not say otherwise.
        consumers: By name; what [defaults] gave them is in them.

    Raises:
        pydantic.ValidationError: When made in Python from values that are wrong.
    """

    supervisor: SupervisorTable = Field(default_factory=SupervisorTable)
    kafka: KafkaTable = Field(default_factory=KafkaTable)
    defaults: DefaultsTable = Field(default_factory=DefaultsTable)
    consumers: dict[ConsumerName, ConsumerTable] = Field(min_length=1)

    @field_validator("consumers", mode="before")
    @classmethod
    def _inherit(cls, value: object, info: ValidationInfo) -> object:
        defaults = info.data.get("defaults")
        if not isinstance(value, dict) or not isinstance(defaults, DefaultsTable):
            return value
        return {name: inherited(table, defaults) for name, table in value.items()}

    def kafka_of(self, consumer: str) -> KafkaTable:
        """How this consumer's workers reach Kafka: its own table over the common one."""
        return self.consumers[consumer].kafka.over(self.kafka)

    def secrets(self) -> list[str]:
        """Every value that must not be shown."""
        tables = (self.kafka, *(consumer.kafka for consumer in self.consumers.values()))
        return list(dict.fromkeys(secret for table in tables for secret in table.secrets()))

    def drain_timeout_of(self, consumer: str) -> float:
        """Seconds that a worker of this consumer may take to drain."""
        return self.consumers[consumer].drain_timeout or self.supervisor.drain_timeout
