"""The child's side: from the Start frame to a running consumer loop and back to an exit code.

The only module of the daemon that imports flowodm, and with it Kafka and the user's code.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from flowodm import settings as profiles
from flowodm.avro.codec import codec_for
from flowodm.clients import Clients
from flowodm.connection import connect, get_kafka_connection
from flowodm.consumer import AsyncConsumerLoop, ConsumerLoop
from flowodm.consumer.signatures import is_async
from flowodm.events import Abandoned, LoopState, LoopStatus, Rebalanced, StateChanged
from flowodm.exceptions import (
    ConfigurationError,
    FencedError,
    RecordError,
    SchemaValidationError,
)
from flowodm.metrics import PrometheusObserver
from flowodm.model import FlowBaseModel
from supervisor import logs
from supervisor.consumer_table import EXCEPTIONS, FUNCTIONS, PROFILES
from supervisor.control import Channel, Control, SupervisorLostError
from supervisor.eviction import evict_dead
from supervisor.membership import brisk
from supervisor.objects import DefinitionError, Names, here_first
from supervisor.protocol import Bye, Failed, Family, Heartbeat, Start, State
from supervisor.redaction import Redactor, of_options
from supervisor.rehearsal import Broker, Rehearsal
from supervisor.restart import ExitClass, ExitCode, classify
from supervisor.values import parse_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowodm.events import Event, Observer

MESSAGE_LENGTH = 4000
"""Characters of a failure's message that the supervisor is told; the log has it in full."""

_ADDRESS = "KAFKA_BOOTSTRAP_SERVERS"
"""Where flowodm looks for Kafka's address if nothing else gives it."""

log = logging.getLogger("supervisor.worker")


def main(fds: list[int]) -> int:
    """Run one worker.

    Args:
        fds: The pipe to the supervisor, and where there is such a thing a pidfd of it.

    Returns:
        The exit code, one of `supervisor.restart.ExitCode`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the supervisor's
    faulthandler.enable()
    channel = Channel(socket.socket(fileno=fds[0]), fds[1] if len(fds) > 1 else None)
    try:
        start = channel.first()
    except SupervisorLostError:
        return ExitCode.DONE
    if not isinstance(start, Start):
        channel.send(Bye(ExitCode.DONE))
        return ExitCode.DONE
    return _Worker(start, channel).run()


@dataclass(frozen=True)
class Definition:
    """A consumer whose names have become objects.

    Attributes:
        model: The messages' class.
        handler: Gets each message.
        options: The loop's other arguments.
        place: Where the consumer is in the configuration.
    """

    model: type[FlowBaseModel]
    handler: Callable[..., Any]
    options: dict[str, Any]
    place: str

    @classmethod
    def resolve(cls, start: Start, errors: list[BaseException]) -> Definition | None:
        """Import all that the consumer names, and tell flowodm how to connect.

        Args:
            start: What to run.
            errors: Gets everything that is not there or does not fit. There is no definition
                if there are any.
        """
        here_first()
        names = Names(_place(start))
        options = dict(start.consumer)
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
        # What an operator sets by its Kafka name also wins over the consumer's profile.
        try:
            options["consumer_config"] = _connect(dict(start.kafka))
        except DefinitionError as error:
            names.errors.append(error)
        errors += names.errors
        if model is None or names.errors:
            return None
        return cls(model, options.pop("handler"), options, _place(start))

    @property
    def is_async(self) -> bool:
        """Whether the handler is a coroutine function, or an object called like one."""
        return is_async(self.handler)

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


def _connect(arguments: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = arguments.pop("options", {})
    given = (arguments.get("bootstrap_servers"), options.get("bootstrap.servers"))
    if not any(given) and not os.environ.get(_ADDRESS):
        raise DefinitionError(f"kafka.bootstrap_servers: is missing; write it, or set {_ADDRESS}")
    connect(**arguments, consumer_config=options, producer_config=options)
    return options


class _Worker:
    def __init__(self, start: Start, channel: Channel) -> None:
        self._start = start
        self._channel = channel
        self._registry = CollectorRegistry()
        self._redact = Redactor(start.secrets)
        self._abandoned = 0
        self._member_id: str | None = None
        self._last_metrics: list[Family] = []
        self._loop: ConsumerLoop | AsyncConsumerLoop | None = None
        self._control = Control(channel, self._heartbeat, start.drain_timeout)

    def run(self) -> int:
        """Consume until the end, and say farewell."""
        identity = self._start.identity
        self._redact = _configure_logs(self._start)
        _set_name(f"flowodm:{identity.consumer}/{identity.slot}")
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._control.stop())
        self._control.start()
        code = self._guarded()
        get_kafka_connection().close_connection()  # a forked child runs no atexit functions
        self._control.finish(code)
        return code

    def _guarded(self) -> ExitCode:
        """Consume; every exception becomes an exit code and a Failed frame."""
        try:
            self._consume()
        except (DefinitionError, ConfigurationError, SchemaValidationError) as error:
            return self._failed(ExitCode.CONFIGURATION, error)
        except RecordError as error:
            return self._failed(ExitCode.RECORD, error)
        except FencedError as error:
            return self._failed(ExitCode.FENCED, error)
        except MemoryError as error:
            return self._failed(ExitCode.OUT_OF_MEMORY, error)
        except BaseException as error:  # noqa: BLE001 - the worker's last line of defence
            return self._failed(ExitCode.CRASH, error)
        return ExitCode.ABANDONED if self._abandoned else ExitCode.DONE

    def _failed(self, code: ExitCode, error: BaseException) -> ExitCode:
        kind = classify(code)
        expected = kind is ExitClass.CONFIGURATION
        log.error(
            "the worker failed: %s",
            error,
            extra={"kind": kind.value},
            exc_info=None if expected else error,
        )
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        text = "; ".join([text, *getattr(error, "__notes__", ())])
        message = _cut(self._redact(text)).encode(errors="replace").decode()
        self._channel.send(Failed(kind=kind.value, message=message))
        return code

    def _consume(self) -> None:
        self._channel.send(State("starting"))
        definition = _resolved(self._start)
        observer = PrometheusObserver(
            self._registry,
            consumer=self._start.identity.consumer,
            slot=str(self._start.identity.slot),
        )
        self._loop = definition.loop(observers=(observer, self._observe))
        self._redact.hide(of_options(self._loop.options.settings.extra_config))
        self._control.attach(self._loop)
        self._loop.options = brisk(self._loop.options)
        self._loop.before_join = self._evict
        if self._control.stopping:
            return
        self._channel.send(State("running"))
        if isinstance(self._loop, AsyncConsumerLoop):
            asyncio.run(self._loop.run())
        else:
            self._loop.run()

    def _evict(self) -> None:
        """In the poller's thread: its consumer looks for the coordinator meanwhile."""
        if self._loop is not None:
            evict_dead(self._loop.options.source().config, self._start.evict)

    def _observe(self, event: Event) -> None:
        if isinstance(event, Abandoned):
            self._abandoned += event.records
        elif isinstance(event, StateChanged) and event.state is LoopState.DRAINING:
            self._control.drains()
        elif isinstance(event, Rebalanced | StateChanged):
            self._control.wake()
        elif isinstance(event, LoopStatus) and event.member_id != self._member_id:
            self._member_id = event.member_id
            self._control.wake()

    def _heartbeat(self) -> Heartbeat:
        status = LoopStatus(LoopState.CREATED) if self._loop is None else self._loop.status()
        return Heartbeat(
            joined=status.joined,
            assigned=list(status.assigned),
            in_flight=status.in_flight,
            # The loop forgets what it abandons; the drain report does not.
            buffered=max(status.buffered, self._abandoned),
            processed=status.processed,
            lag=status.lag,
            oldest_handler_seconds=status.oldest_handler_seconds,
            metrics=self._changed_metrics(),
            member_id=status.member_id,
            behind=[(*tp, position) for tp, position in status.behind],
        )

    def _changed_metrics(self) -> list[Family] | None:
        """All metrics, or None if none has changed: 64 idle workers must cost nearly nothing."""
        current = families(self._registry)
        if current == self._last_metrics:
            return None
        self._last_metrics = current
        return current


def _configure_logs(start: Start) -> Redactor:
    identity = start.identity
    redact = Redactor(start.secrets)
    logs.configure(
        level=start.logging.level,
        fmt=start.logging.format,
        fields={"consumer": identity.consumer, "slot": identity.slot, "pid": os.getpid()},
        secrets=redact,
    )
    return redact


def _cut(text: str) -> str:
    """As much of a message as fits into a frame and /status; an exception may quote a record."""
    return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"


def _set_name(name: str) -> None:
    """Show up in ps and top under a name; Linux keeps 15 bytes of it (man 5 proc)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="utf-8")


def families(registry: CollectorRegistry) -> list[Family]:
    """All metrics of a registry in the protocol's form."""
    return [
        (
            metric.name,
            metric.type,
            metric.documentation,
            [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


def _resolved(start: Start) -> Definition:
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


def remove(fds: list[int]) -> int:
    """Take dead members out of their group, of a slot that is gone for good, and end.

    Args:
        fds: As for `main`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=fds[0]), None)
    try:
        start = channel.first()
    except SupervisorLostError:
        return ExitCode.DONE
    return ExitCode.DONE if isinstance(start, Start) and _removed(start) else ExitCode.CRASH


def _removed(start: Start) -> bool:
    _configure_logs(start)
    try:
        config = _resolved(start).loop().options.source().config
    except Exception:
        log.exception("the slot cannot be taken out of its group")
        return False
    return evict_dead(config, start.evict, successor=False)


def rehearse(start: Start, broker: Broker | None = None) -> Rehearsal:
    """Do all that a start does but for the network: for `check`.

    Args:
        start: What would be started.
        broker: Asked for the topics too, if it is given.
    """
    found = Rehearsal()
    definition = Definition.resolve(start, found.errors)
    if definition is None:
        return found
    with _kept(found.errors):
        codec_for(definition.model)
    with _kept(found.errors):
        loop = definition.loop()
        found.facts["loop"] = type(loop).__name__
        source = loop.options.source()
        found.facts["topic"], found.facts["group"] = source.topic, loop.options.group
        found.tell(source.config)
        _try_properties(source.config)
        if broker is not None:
            topics = [source.topic, start.consumer.get("dead_letter_topic") or source.topic]
            found.seen = broker.ask(topics, lambda c: Clients().consumer(c, ()), source.config)
    return found


@contextlib.contextmanager
def _kept(errors: list[BaseException]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator is told
        errors.append(error)


def _try_properties(config: dict[str, Any]) -> None:
    """Let librdkafka look at every property; without a broker's address it connects to nobody."""
    addresses = {"bootstrap.servers", "metadata.broker.list"}
    properties = {name: value for name, value in config.items() if name not in addresses}
    Clients().consumer({**properties, "log_level": 0}, ()).close()
