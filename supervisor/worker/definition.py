"""What a consumer names, imported and made into a loop: in a worker, and for `check`."""

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
from supervisor.worker.partition_count import Counting
from supervisor.worker.references import DefinitionError, References, here_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.events import Observer
    from flowodm.tracing import Tracing
    from supervisor.protocol import Start

_ADDRESS = "KAFKA_BOOTSTRAP_SERVERS"
"""Where flowodm looks for Kafka's address if nothing else gives it."""


@dataclass(frozen=True)
class Definition:
    """A consumer whose names have become objects.

    Attributes:
        model: The messages' class.
        handler: Gets each message.
        options: The loop's other arguments.
        place: Where the consumer is in the configuration.
        traced: Whether what it handles and sends is traced.
    """

    model: type[FlowBaseModel]
    handler: Callable[..., Any]
    options: dict[str, Any]
    place: str
    traced: bool = False

    @classmethod
    def resolve(cls, start: Start, errors: list[BaseException]) -> Definition | None:
        """Import all that the consumer names, and tell flowodm how to connect.

        Args:
            start: What to run.
            errors: Gets everything that is not there or does not fit. There is no definition
                if there are any.
        """
        here_first()
        names = References(_place(start))
        options = dict(start.consumer)
        if not options.get("partitions"):
            options.pop("partitions", None)  # not known yet
        model = names.get("model", options.pop("model"), _model)
        for key in FUNCTIONS:
            if key in options:
                options[key] = names.get(key, options[key], _function)
        for key in EXCEPTIONS:
            if key in options:
                options[key] = names.exceptions(key, options[key])
        if "settings" in options:
            profile = options["settings"]
            reference = f"flowodm.settings:{PROFILES[profile]}" if profile in PROFILES else profile
            options["settings"] = names.get("settings", reference, _profile)
        if "start_from" in options:
            options["start_from"] = parse_start(options["start_from"])
        tracing = _tracing(names, options.pop("tracing", False))
        # What an operator sets by its Kafka name also wins over the consumer's profile.
        try:
            options["consumer_config"] = _connect(dict(start.kafka), tracing)
        except DefinitionError as error:
            names.errors.append(error)
        errors += names.errors
        if model is None or names.errors:
            return None
        return cls(
            model, options.pop("handler"), options, _place(start), traced=tracing is not None
        )

    @property
    def is_async(self) -> bool:
        """Whether the handler is a coroutine function, or an object called like one."""
        return is_async(self.handler)

    def pinned(self, start: Start) -> Definition:
        """The same with the partitions that are known now."""
        return replace(self, options={**self.options, "partitions": start.consumer["partitions"]})

    def counting(self, per_worker: int) -> Counting:
        """What counts the topic's partitions."""
        source = self.loop().consumer_source()
        return Counting(source.topic, per_worker, make_client, source.config)

    def loop(self, observers: tuple[Observer, ...] = ()) -> ConsumerLoop | AsyncConsumerLoop:
        """The loop, not yet running. Signals are the worker's business, not the loop's.

        Raises:
            DefinitionError: The loop does not take these arguments. It begins with the key, if
                the loop's own message begins with the argument's name.
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


def _place(start: Start) -> str:
    return f"consumers.{start.identity.consumer}"


def _model(found: object, where: str) -> type[FlowBaseModel]:
    if isinstance(found, type) and issubclass(found, FlowBaseModel):
        return found
    raise DefinitionError(f"{where} is no subclass of FlowBaseModel")


def _function(found: object, where: str) -> Callable[..., Any]:
    if isinstance(found, ConsumerLoop | AsyncConsumerLoop):
        plain = f"{where.rpartition(' ')[2]}.handler"
        raise DefinitionError(
            f"{where} is a loop that a decorator made, with options of its own; "
            f'write "{plain}" for the plain function, and its options here'
        )
    if not callable(found):
        raise DefinitionError(f"{where} is {type(found).__name__}, not a function")
    return found


def _profile(found: object, where: str) -> profiles.BaseSettings:
    if isinstance(found, profiles.BaseSettings):
        return found
    if not (isinstance(found, type) and issubclass(found, profiles.BaseSettings)):
        raise DefinitionError(f"{where} is no settings profile of flowodm")
    try:
        return found()
    except (TypeError, ConfigurationError) as error:
        raise DefinitionError(f"{where} cannot be made: {error}") from error


def _tracing(names: References, said: bool | str) -> Tracing | None:
    if not said:
        return None
    try:
        from flowodm.tracing import Tracing  # noqa: PLC0415 - OpenTelemetry is an extra
    except ConfigurationError as error:
        names.errors.append(DefinitionError(f"{names.place}.tracing: {error}"))
        return None

    def accept(found: object, where: str) -> Tracing:
        if isinstance(found, Tracing):
            return found
        raise DefinitionError(f"{where} is no flowodm.tracing.Tracing")

    return Tracing() if isinstance(said, bool) else names.get("tracing", said, accept)


def _connect(arguments: dict[str, Any], tracing: Tracing | None) -> dict[str, Any]:
    options: dict[str, Any] = arguments.pop("options", {})
    given = (arguments.get("bootstrap_servers"), options.get("bootstrap.servers"))
    if not any(given) and not os.environ.get(_ADDRESS):
        raise DefinitionError(f"kafka.bootstrap_servers: is missing; write it, or set {_ADDRESS}")
    connect(**arguments, consumer_config=options, producer_config=options, tracing=tracing)
    return options


def resolved(start: Start) -> Definition:
    """The definition, or one error: all that will not pass by itself, or else the first that may.

    Raises:
        DefinitionError: Something is not there or does not fit.
        Exception: What a module raised on import, if that may pass.
    """
    errors: list[BaseException] = []
    definition = Definition.resolve(start, errors)
    if definition is not None:
        return definition
    lasting = [str(e) for e in errors if isinstance(e, DefinitionError | ConfigurationError)]
    if lasting:
        raise DefinitionError("; ".join(lasting))
    raise errors[0]


def make_client(config: dict[str, Any]) -> Any:
    """Make a consumer of this configuration that joins no group."""
    return Clients().consumer(config, ())
