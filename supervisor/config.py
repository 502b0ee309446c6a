"""What a configuration may say: the models behind the TOML.

Nothing here reads files or the environment (`supervisor.toml` does), and nothing imports
flowodm: the supervising process stays free of Kafka and of the user's code.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from supervisor.restart import RestartMode, RestartPolicy

PROFILES = {
    "base": "BaseSettings",
    "batch": "BatchSettings",
    "long_running": "LongRunningSettings",
    "real_time": "RealTimeSettings",
    "high_throughput": "HighThroughputSettings",
    "reliable": "ReliableSettings",
}
"""Short names of the profiles in flowodm.settings."""

LONGEST = 366 * 24 * 3600.0
"""Seconds; more is a mistake, and much more than a thread can wait for."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_MODULE = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(rf"{_MODULE}:{_MODULE}")
_SECRET_OPTION = re.compile(r"password|secret|\.key$|key\.pem|token|oauthbearer\.config|jaas")


def parse_duration(value: object) -> object:
    """Seconds from "500ms", "30s", "2m", "1h30m" or a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _no_duration()
    if isinstance(value, int | float):
        return _seconds(value)
    text = value.replace(" ", "")
    if _DURATION.fullmatch(text):
        return _seconds(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    try:
        return _seconds(float(text))
    except ValueError:
        return _no_duration()


def _seconds(number: float) -> float:
    """The same as a float. As an int it may be longer than any float, so it is compared first."""
    if LONGEST < number < math.inf:
        raise PydanticCustomError(
            "duration", "is too long", {"hint": "write 366 days (8784h) at most"}
        )
    return float(max(number, -1.0)) if number < 0 else float(number)


def _no_duration() -> object:
    raise PydanticCustomError(
        "duration", "is not a length of time", {"hint": 'write a number and a unit, as in "30s"'}
    )


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "should be a whole number, not true or false")
    return value


def _reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise PydanticCustomError(
            "reference",
            "names no object in a module",
            {"hint": 'write "package.module:name", with a colon before the object\'s name'},
        )
    return value


def _module(value: str) -> str:
    if not re.fullmatch(_MODULE, value):
        raise PydanticCustomError(
            "module", "is not the name of a module", {"hint": 'write it as in "package.module"'}
        )
    return value


def _instance_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,120}", value):
        raise PydanticCustomError(
            "instance_id",
            "cannot be part of a group.instance.id",
            {"hint": "write up to 120 letters, digits, dots, dashes and underscores"},
        )
    return value


def _option(value: object) -> str:
    """A librdkafka value as text, which librdkafka takes for properties of every type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise PydanticCustomError(
        "option",
        "is no value of a librdkafka property",
        {"hint": "write text, a number, true or false; properties with dots go in quotes"},
    )


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
"""A length of time: "500ms", "30s", "2m", "1h30m", or a number of seconds. Never negative."""
PositiveSeconds = Annotated[
    float, BeforeValidator(parse_duration), Field(gt=0, allow_inf_nan=False)
]
"""As `Seconds`, and more than zero."""
Whole = Annotated[int, BeforeValidator(_not_bool)]
Reference = Annotated[str, AfterValidator(_reference)]
"""An object of the user's: "package.module:name"."""
Options = dict[str, Annotated[str, BeforeValidator(_option)]]
"""librdkafka properties by name."""


class Table(BaseModel):
    """What all tables have in common: nothing unknown, nothing changed later, no secret shown."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )


class SupervisorTable(Table):
    """[supervisor]: the daemon itself.

    Attributes:
        instance_id: Stable name of this supervisor among all that run the same consumers; the
            members' group.instance.id are built on it. None: the host's name.
        http: Address of /metrics, /healthz, /readyz and /status; port 0 takes a free one; ""
            for none.
        drain_timeout: How long a worker may take to finish what it has when it is stopped.
        kill_delay: How long it may take after SIGTERM, which follows, before SIGKILL.
        preload: Modules that are imported once, in the process that workers are forked from.
            They must not start threads or open connections.
        log_level: Lowest level that is logged, by the supervisor and its workers.
        log_format: "json" lines, "console" for people, "auto" for console on a terminal.
    """

    instance_id: Annotated[str, AfterValidator(_instance_id)] | None = None
    http: str = Field(default="127.0.0.1:9108", examples=["127.0.0.1:9108"])
    drain_timeout: PositiveSeconds = Field(default=30.0, examples=["30s"])
    kill_delay: PositiveSeconds = Field(default=5.0, examples=["5s"])
    preload: tuple[Annotated[str, AfterValidator(_module)], ...] = ()
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = (
        "info"
    )
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


def parse_address(value: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port".

    Raises:
        PydanticCustomError: It is neither.
    """
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if colon and host and port.isascii() and port.isdigit() and int(port) <= 65535:  # noqa: PLR2004 - TCP's own limit
        return host, int(port)
    raise PydanticCustomError(
        "address",
        "is no address to serve on",
        {"hint": 'write host and port, as in "127.0.0.1:9108"; "" serves nothing'},
    )


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


class RestartTable(Table):
    """[consumers.NAME.restart]: see `supervisor.restart.RestartPolicy` for the meanings."""

    policy: RestartMode = RestartMode.ALWAYS
    initial: PositiveSeconds = Field(default=0.1, examples=["100ms"])
    factor: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    cap: PositiveSeconds = Field(default=30.0, examples=["30s"])
    jitter: float = Field(default=0.2, ge=0, le=1)
    limit: Annotated[Whole, Field(ge=0)] = 10
    window: PositiveSeconds = Field(default=300.0, examples=["5m"])
    stable: PositiveSeconds = Field(default=60.0, examples=["1m"])

    @field_validator("cap")
    @classmethod
    def _cap(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("initial", value):
            raise PydanticCustomError(
                "cap", "is shorter than initial", {"hint": "write the longest delay here"}
            )
        return value

    def restart_policy(self) -> RestartPolicy:
        """The same as the restart decision takes it."""
        values = self.model_dump(exclude={"policy"})
        return RestartPolicy(mode=self.policy, **values)


class ConsumerTable(Table):
    """[consumers.NAME]: one consumer and its workers.

    Options that are None keep the default of flowodm's ConsumerLoop or AsyncConsumerLoop,
    whose arguments of the same names they are.

    Attributes:
        model: The FlowBaseModel subclass.
        handler: The function that gets each message; `async def` runs an AsyncConsumerLoop.
        workers: Worker processes that share the topic as members of the consumer group.
        partition_groups: Instead of workers: one worker for each list, which holds exactly
            these partitions and no group membership.
        membership: "static" gives each worker its own group.instance.id (KIP-345), so that a
            restart moves no partitions; "dynamic" gives none.
        settings: A profile ("long_running", "batch", …) or "package.module:settings".
        restart: What follows when a worker ends.
    """

    model: Reference = Field(examples=["shop.orders:OrderEvent"])
    handler: Reference = Field(examples=["shop.orders:process_order"])
    error_handler: Reference | None = None
    on_startup: Reference | None = None
    on_shutdown: Reference | None = None
    workers: Annotated[Whole, Field(ge=1, le=1000)] | None = Field(default=None, examples=[4])
    partition_groups: tuple[tuple[Annotated[Whole, Field(ge=0)], ...], ...] | None = Field(
        default=None, examples=[[[0, 1], [2, 3]]]
    )
    membership: Literal["static", "dynamic"] = "static"
    settings: str | None = Field(default=None, examples=["long_running"])
    group_id: Annotated[str, Field(min_length=1)] | None = None
    commit_strategy: Literal["before_processing", "after_processing"] | None = None
    max_retries: Annotated[Whole, Field(ge=0)] | None = None
    retry_delay: Seconds | None = Field(default=None, examples=["1s"])
    max_concurrent: Annotated[Whole, Field(ge=1)] | None = Field(default=None, examples=[10])
    ordering: Literal["partition", "key", "unordered"] | None = None
    on_failure: Literal["skip", "stop"] | None = None
    commit_interval: PositiveSeconds | None = Field(default=None, examples=["1s"])
    commit_ahead: Seconds | None = Field(default=None, examples=["100ms"])
    poll_timeout: PositiveSeconds | None = Field(default=None, examples=["1s"])
    drain_timeout: PositiveSeconds | None = Field(default=None, examples=["30s"])
    restart: RestartTable = Field(default_factory=RestartTable)

    @field_validator("settings")
    @classmethod
    def _settings(cls, value: str | None) -> str | None:
        if value is None or value in PROFILES or _REFERENCE.fullmatch(value):
            return value
        names = ", ".join(f'"{name}"' for name in PROFILES)
        raise PydanticCustomError(
            "profile", "is no settings profile", {"hint": f'write {names}, or "module:name"'}
        )

    @field_validator("partition_groups")
    @classmethod
    def _groups(
        cls, value: tuple[tuple[int, ...], ...] | None, info: ValidationInfo
    ) -> tuple[tuple[int, ...], ...] | None:
        if value is None:
            return None
        if info.data.get("workers") is not None:
            raise PydanticCustomError(
                "contradiction",
                "contradicts workers",
                {
                    "hint": "keep workers for partitions that Kafka's group assigns, or "
                    "partition_groups for ones that you pin: a worker for each group"
                },
            )
        _check_groups(value)
        return value

    def slots(self) -> tuple[tuple[int, ...] | None, ...]:
        """For each worker its pinned partitions, or None where the group assigns them."""
        if self.partition_groups is not None:
            return self.partition_groups
        return (None,) * (self.workers or 1)

    def loop_options(self) -> dict[str, Any]:
        """The arguments for the loop which are set, under the loop's own names."""
        not_the_loops = {"workers", "partition_groups", "membership", "restart"}
        return self.model_dump(exclude=not_the_loops, exclude_none=True, mode="json")


def _check_groups(groups: tuple[tuple[int, ...], ...]) -> None:
    if not groups or not all(groups):
        raise PydanticCustomError(
            "empty", "has an empty group", {"hint": "give each worker at least one partition"}
        )
    seen: set[int] = set()
    twice: list[int] = []
    for partition in (partition for group in groups for partition in group):
        (twice.append if partition in seen else seen.add)(partition)
    if twice:
        names = ", ".join(map(str, sorted(set(twice))))
        raise PydanticCustomError(
            "overlap",
            "gives a partition to two workers: {names}",
            {"names": names, "hint": "name each partition once"},
        )


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
