"""The whole configuration: the models behind the TOML.

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
    """[supervisor]: the daemon itself."""

    instance_id: InstanceId | None = Field(
        default=None,
        description="Name of this supervisor, unique among all that run the same consumers; the "
        "group.instance.id of its workers begins with it. By default the host's name.",
    )
    http: str = Field(
        default="127.0.0.1:9108",
        description="Address that serves the page, /metrics, /healthz, /readyz, /status and "
        '/history. Port 0 takes a free one; "" serves nothing.',
        examples=["127.0.0.1:9108"],
    )
    http_hosts: tuple[HostName, ...] = Field(
        default=(),
        description="Further host names that requests may ask for, needed where the fleet is "
        'scraped by a full name such as "shop.default.svc.cluster.local". ".example.org" stands '
        'for all names below it, "*" for every name.',
        examples=[["fleet.example.org"]],
    )
    control_socket: str = Field(
        default="auto",
        description="Path of the Unix socket for status, reload, restart, scale, pause, resume and "
        'stop. "auto": a socket named after instance_id in the user\'s runtime folder; "": none.',
        examples=["/run/flowodm/control.sock"],
    )
    drain_timeout: PositiveSeconds = Field(
        default=30.0,
        description="Time that a worker gets to finish its handlers when it is stopped.",
        examples=["30s"],
    )
    kill_delay: PositiveSeconds = Field(
        default=5.0,
        description="Time between SIGTERM, which follows the drain, and SIGKILL.",
        examples=["5s"],
    )
    preload: tuple[ModuleName, ...] = Field(
        default=(),
        description="Modules that are imported once, in the fork server, before workers are "
        "forked from it. They must not start threads or open connections.",
    )
    log_level: LogLevel = Field(
        default="info", description="Lowest level that the supervisor and its workers log."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description='Format of log lines: "json", "console" for people, or "auto": console if '
        "stderr is a terminal, else json.",
    )

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

    Raises:
        pydantic.ValidationError: When made in Python from values that are not valid.
    """

    supervisor: SupervisorTable = Field(
        default_factory=SupervisorTable, description="The daemon itself."
    )
    kafka: KafkaTable = Field(
        default_factory=KafkaTable,
        description="How workers reach Kafka and the schema registry.",
    )
    defaults: DefaultsTable = Field(
        default_factory=DefaultsTable,
        description="Keys of all consumers; a consumer's own value wins.",
    )
    consumers: dict[ConsumerName, ConsumerTable] = Field(
        min_length=1,
        description="The consumers by name; in Python with what they inherit from [defaults].",
    )

    @field_validator("consumers", mode="before")
    @classmethod
    def _inherit(cls, value: object, info: ValidationInfo) -> object:
        defaults = info.data.get("defaults")
        if not isinstance(value, dict) or not isinstance(defaults, DefaultsTable):
            return value
        return {name: inherited(table, defaults) for name, table in value.items()}

    def kafka_of(self, consumer: str) -> KafkaTable:
        """Return how a consumer's workers reach Kafka: its own table over the common one."""
        return self.consumers[consumer].kafka.over(self.kafka)

    def secrets(self) -> list[str]:
        """Return every value that must not be shown."""
        tables = (self.kafka, *(consumer.kafka for consumer in self.consumers.values()))
        return list(dict.fromkeys(secret for table in tables for secret in table.secrets()))

    def drain_timeout_of(self, consumer: str) -> float:
        """Return the seconds that a worker of a consumer may take to drain."""
        return self.consumers[consumer].drain_timeout or self.supervisor.drain_timeout
