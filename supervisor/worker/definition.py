"""Makes a consumer loop from a Start frame: imports what it names. For workers and `check`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowodm import settings as profiles
from flowodm.connection import connect
from flowodm.connection.clients import Clients
from flowodm.consumer import AsyncConsumerLoop, ConsumerLoop
from flowodm.consumer.options.signatures import is_async
from flowodm.exceptions import ConfigurationError
from flowodm.model import FlowBaseModel
from supervisor.config.consumer import EXCEPTIONS, FUNCTIONS
from supervisor.config.profiles import PROFILES
from supervisor.config.values import parse_start
from supervisor.worker.partition_count import PartitionCounter
from supervisor.worker.references import DefinitionError, References, add_current_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.events import Observer
    from flowodm.tracing import Tracing
    from supervisor.protocol import Start

_ADDRESS = "KAFKA_BOOTSTRAP_SERVERS"
"""The environment variable with Kafka's address, if the configuration has none."""


@dataclass(frozen=True)
class Definition:
    """A consumer whose names are resolved to objects.

    Attributes:
        model: The messages' class.
        handler: The function that gets each message.
        options: The loop's other arguments.
        place: The consumer's place in the configuration.
        traced: Whether the worker traces the records that it handles and sends.
    """

    model: type[FlowBaseModel]
    handler: Callable[..., Any]
    options: dict[str, Any]
    place: str
    traced: bool = False

    @classmethod
    def resolve(cls, start: Start, errors: list[BaseException]) -> Definition | None:
        """Import everything that the consumer names, and configure flowodm's connection.

        Args:
            start: What to run.
            errors: Gets every error. If there is one, the result is None.
        """
        add_current_folder()
        references = References(_place(start))
        options = dict(start.consumer)
        model = references.get("model", options.pop("model"), _model)
        _resolve_options(references, options)
        tracing = _tracing(references, options.pop("tracing", False))
        # The operator's Kafka properties also win over the consumer's settings profile.
        try:
            options["consumer_config"] = _connect(dict(start.kafka), tracing)
        except DefinitionError as error:
            references.errors.append(error)
        errors += references.errors
        if model is None or references.errors:
            return None
        handler = options.pop("handler")
        return cls(model, handler, options, place=_place(start), traced=tracing is not None)

    @property
    def is_async(self) -> bool:
        """Whether the handler is a coroutine function, or an object called like one."""
        return is_async(self.handler)

    def pinned(self, start: Start) -> Definition:
        """Return the definition with the pinned partitions of another Start frame."""
        return replace(self, options={**self.options, "partitions": start.consumer["partitions"]})

    def partition_counter(self, per_worker: int) -> PartitionCounter:
        """Make the counter of the topic's partitions.

        Args:
            per_worker: How many partitions each worker gets.
        """
        source = self.loop().consumer_source()
        return PartitionCounter(source.topic, per_worker, make_client, config=source.config)

    def loop(self, observers: tuple[Observer, ...] = ()) -> ConsumerLoop | AsyncConsumerLoop:
        """Make the loop. It handles no signals: the worker does.

        Raises:
            DefinitionError: The loop refuses an argument. The message begins with the key if the
                loop's own message begins with the argument's name.
        """
        kind = AsyncConsumerLoop if self.is_async else ConsumerLoop
        try:
            return kind(
                self.model,
                self.handler,
                **self.options,
                observers=observers,
                handle_signals=False,
            )
        except (TypeError, ValueError, ConfigurationError) as error:
            name = str(error).partition(" ")[0]
            key = f".{name}" if name in {"handler", *self.options} else ""
            raise DefinitionError(f"{self.place}{key}: {error}") from error


def resolve_definition(start: Start) -> Definition:
    """Resolve a definition, or raise one error for all that is wrong.

    Raises:
        DefinitionError: Errors that another start would meet too, in one message.
        Exception: There are none of these; what a module raised on import.
    """
    errors: list[BaseException] = []
    definition = Definition.resolve(start, errors)
    if definition is not None:
        return definition
    permanent = [str(e) for e in errors if isinstance(e, DefinitionError | ConfigurationError)]
    if permanent:
        raise DefinitionError("; ".join(permanent))
    raise errors[0]


def make_client(config: dict[str, Any]) -> Any:
    """Make a consumer of this configuration that joins no group."""
    return Clients().consumer(config, ())


def _place(start: Start) -> str:
    return f"consumers.{start.identity.consumer}"


def _resolve_options(references: References, options: dict[str, Any]) -> None:
    """Replace references and times in the loop's arguments by objects."""
    if not options.get("partitions"):
        options.pop("partitions", None)  # they are counted first
    for key in FUNCTIONS:
        if key in options:
            options[key] = references.get(key, options[key], _function)
    for key in EXCEPTIONS:
        if key in options:
            options[key] = references.exceptions(key, options[key])
    if "settings" in options:
        profile = options["settings"]
        reference = f"flowodm.settings:{PROFILES[profile]}" if profile in PROFILES else profile
        options["settings"] = references.get("settings", reference, _profile)
    if "start_from" in options:
        options["start_from"] = parse_start(options["start_from"])


def _model(target: object, where: str) -> type[FlowBaseModel]:
    if isinstance(target, type) and issubclass(target, FlowBaseModel):
        return target
    raise DefinitionError(f"{where} is not a subclass of FlowBaseModel")


def _function(target: object, where: str) -> Callable[..., Any]:
    if isinstance(target, ConsumerLoop | AsyncConsumerLoop):
        handler = f"{where.rpartition(' ')[2]}.handler"
        raise DefinitionError(
            f"{where} is a loop that a decorator made, with options of its own; "
            f'write "{handler}" for the plain function, and its options here'
        )
    if not callable(target):
        raise DefinitionError(f"{where} is {type(target).__name__}, not a function")
    return target


def _profile(target: object, where: str) -> profiles.BaseSettings:
    if isinstance(target, profiles.BaseSettings):
        return target
    if not (isinstance(target, type) and issubclass(target, profiles.BaseSettings)):
        raise DefinitionError(f"{where} is not a settings profile of flowodm")
    try:
        return target()
    except (TypeError, ConfigurationError) as error:
        raise DefinitionError(f"{where} cannot be made: {error}") from error


def _tracing(references: References, option: bool | str) -> Tracing | None:
    if not option:
        return None
    try:
        from flowodm.tracing import Tracing  # noqa: PLC0415 - OpenTelemetry is an extra
    except ConfigurationError as error:
        references.errors.append(DefinitionError(f"{references.place}.tracing: {error}"))
        return None

    def accept(target: object, where: str) -> Tracing:
        if isinstance(target, Tracing):
            return target
        raise DefinitionError(f"{where} is not a flowodm.tracing.Tracing")

    if isinstance(option, bool):
        return Tracing()
    return references.get("tracing", option, accept)


def _connect(arguments: dict[str, Any], tracing: Tracing | None) -> dict[str, Any]:
    """Configure flowodm's connection; return the properties that the operator set."""
    options: dict[str, Any] = arguments.pop("options", {})
    addresses = (arguments.get("bootstrap_servers"), options.get("bootstrap.servers"))
    if not any(addresses) and not os.environ.get(_ADDRESS):
        raise DefinitionError(f"kafka.bootstrap_servers: is missing; write it, or set {_ADDRESS}")
    connect(**arguments, consumer_config=options, producer_config=options, tracing=tracing)
    return options
