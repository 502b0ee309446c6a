"""Runs a worker: from the Start frame to a consumer loop, and from its end to an exit code.

Only this folder and the demo import flowodm, and with it Kafka and the user's code.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from flowodm.connection import get_kafka_connection
from flowodm.consumer import AsyncConsumerLoop, ConsumerLoop
from flowodm.events import Abandoned, LoopState, LoopStatus, Rebalanced, StateChanged
from flowodm.exceptions import (
    ConfigurationError,
    FencedError,
    RecordError,
    SchemaValidationError,
)
from flowodm.metrics import PrometheusObserver
from supervisor import logs
from supervisor.protocol import (
    Bye,
    Counted,
    Family,
    Heartbeat,
    Start,
    WorkerFailed,
    WorkerStage,
    pack,
)
from supervisor.redaction import Redactor, of_options
from supervisor.slot.restart import ExitClass, ExitCode, classify
from supervisor.worker.definition import resolve_definition
from supervisor.worker.eviction import evict_dead
from supervisor.worker.group_member import speed_up_heartbeats
from supervisor.worker.partition_count import TooManyPartitionsError
from supervisor.worker.pipe import Channel, Control, SupervisorLostError
from supervisor.worker.references import DefinitionError

if TYPE_CHECKING:
    from types import ModuleType

    from flowodm.events import Event
    from supervisor.worker.definition import Definition
    from supervisor.worker.partition_count import PartitionCounter

MESSAGE_LENGTH = 4000
"""Characters of a failure's message that are sent to the supervisor; the log has it in full."""
PIN_WAIT = 0.02
"""Seconds between two looks for the partitions; they arrive soon after the count."""

_log = logging.getLogger("supervisor.worker")


def main(fds: list[int]) -> int:
    """Run one worker.

    Args:
        fds: The pipe to the supervisor, and a pidfd of it where the system has pidfds.

    Returns:
        The exit code, one of `supervisor.slot.restart.ExitCode`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
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


class _Worker:
    """One worker process that has got its Start frame."""

    def __init__(self, start: Start, channel: Channel) -> None:
        self._start = start
        self._channel = channel
        self._registry = CollectorRegistry()
        self._redact = Redactor(start.secrets)
        self._abandoned = 0
        self._member_id: str | None = None
        self._last_metrics = ""
        self._loop: ConsumerLoop | AsyncConsumerLoop | None = None
        self._control = Control(channel, self._heartbeat, start.drain_timeout)

    def run(self) -> int:
        """Consume until the end, and send the Bye frame."""
        identity = self._start.identity
        self._redact = _configure_logs(self._start)
        _set_name(f"flowodm:{identity.consumer}/{identity.slot}")
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._control.stop())
        self._control.start()
        code = self._consume_guarded()
        _close_connection()
        tracing = _tracing(self._start)
        if tracing is not None:
            tracing.shut_down(self._control.left)
        self._control.finish(code)
        return code

    def _consume_guarded(self) -> ExitCode:
        """Consume; turn every exception into an exit code and a WorkerFailed frame."""
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
        except BaseException as error:  # noqa: BLE001 - every other exception is a crash
            return self._failed(ExitCode.CRASH, error)
        return ExitCode.ABANDONED if self._abandoned else ExitCode.DONE

    def _failed(self, code: ExitCode, error: BaseException) -> ExitCode:
        kind = classify(code)
        expected = kind is ExitClass.CONFIGURATION
        _log.error(
            "the worker failed: %s",
            error,
            extra={"kind": kind.value},
            exc_info=None if expected else error,
        )
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        text = "; ".join([text, *getattr(error, "__notes__", ())])
        message = _cut(self._redact(text)).encode(errors="replace").decode()
        self._channel.send(WorkerFailed(kind=kind.value, message=message))
        return code

    def _consume(self) -> None:
        self._channel.send(WorkerStage("starting"))
        tracing = _tracing(self._start)
        if tracing is not None and self._start.consumer["tracing"] is True:
            tracing.set_up()
        definition = self._with_partitions(resolve_definition(self._start))
        if tracing is not None:
            tracing.warn_if_nothing_is_exported()
        if definition is None:
            return
        observer = PrometheusObserver(
            self._registry,
            consumer=self._start.identity.consumer,
            slot=str(self._start.identity.slot),
        )
        self._loop = definition.loop(observers=(observer, self._observe))
        self._redact.hide(of_options(self._loop.settings.extra_config))
        self._control.attach(self._loop)
        speed_up_heartbeats(self._loop)
        self._loop.before_join = self._evict
        if self._control.stopping:
            return
        self._channel.send(WorkerStage("running"))
        if isinstance(self._loop, AsyncConsumerLoop):
            asyncio.run(self._loop.run())
        else:
            self._loop.run()

    def _with_partitions(self, definition: Definition) -> Definition | None:
        """Count the topic's partitions if that is this worker's task, and wait for its own.

        Return None if the worker is told to stop before it has them.
        """
        per_worker = self._start.partitions_per_worker
        if per_worker is None:
            return definition
        counter = definition.partition_counter(per_worker)
        if not self._start.consumer["partitions"]:
            count = self._first_count(counter, definition.place)
            if count is None:
                return None
            self._report_count(count)
            start = self._wait_for_partitions()
            if start is None:
                return None
            definition = definition.pinned(start)
        counter.follow(self._report_count)
        return definition

    def _first_count(self, counter: PartitionCounter, place: str) -> int | None:
        try:
            return counter.first(lambda: self._control.stopping)
        except TooManyPartitionsError as error:
            raise DefinitionError(f"{place}.partitions_per_worker: {error}") from None

    def _wait_for_partitions(self) -> Start | None:
        while self._control.pinned is None:
            if self._control.stopping:
                return None
            time.sleep(PIN_WAIT)
        return self._control.pinned

    def _report_count(self, count: int) -> None:
        self._channel.send(Counted(count))

    def _evict(self) -> None:
        """Evict the predecessor. Called in the poller's thread, before it joins the group.

        The consumer has been made then, and looks for the group's coordinator meanwhile.
        """
        if self._loop is not None:
            evict_dead(self._loop.consumer_source().config, self._start.evict)

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
            # The loop no longer counts abandoned records; the drain report needs them.
            buffered=max(status.buffered, self._abandoned),
            processed=status.processed,
            lag=status.lag,
            oldest_handler_seconds=status.oldest_handler_seconds,
            metrics=self._changed_metrics(),
            member_id=status.member_id,
            behind=[(*tp, position) for tp, position in status.behind],
        )

    def _changed_metrics(self) -> str | None:
        """Pack all metrics; return None if none has changed, so that idle workers cost little."""
        current = pack(families(self._registry))
        if current == self._last_metrics:
            return None
        self._last_metrics = current
        return current


def _close_connection() -> None:
    """Close flowodm's connection: a forked child runs no atexit functions."""
    try:
        get_kafka_connection().close_connection()
    except Exception:  # noqa: BLE001 - the worker exits in any case
        _log.exception("the connection cannot be closed")


def _configure_logs(start: Start) -> Redactor:
    identity = start.identity
    redact = Redactor(start.secrets)
    tracing = _tracing(start)
    logs.configure(
        level=start.logging.level,
        fmt=start.logging.format,
        fields={"consumer": identity.consumer, "slot": identity.slot, "pid": os.getpid()},
        secrets=redact,
        more=() if tracing is None else (tracing.current_span,),
    )
    return redact


def _tracing(start: Start) -> ModuleType | None:
    """Import the tracing module if tracing is on; the definition fails without OpenTelemetry."""
    if start.consumer.get("tracing"):
        with contextlib.suppress(ImportError):
            return importlib.import_module("supervisor.worker.tracing")
    return None


def _cut(text: str) -> str:
    """Cut a message to `MESSAGE_LENGTH`; an exception may quote a whole record."""
    return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"


def _set_name(name: str) -> None:
    """Set the process's name for ps and top; Linux keeps 15 bytes of it (man 5 proc)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="utf-8")


def families(registry: CollectorRegistry) -> list[Family]:
    """Convert all metrics of a registry to the protocol's form."""
    return [
        (
            metric.name,
            metric.type,
            metric.documentation,
            [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


def remove(fds: list[int]) -> int:
    """Remove the dead members of a slot that has ended for good from their group.

    Args:
        fds: As for `main`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=fds[0]), None)
    try:
        start = channel.first()
    except SupervisorLostError:
        return ExitCode.DONE
    if isinstance(start, Start) and _remove_members(start):
        return ExitCode.DONE
    return ExitCode.CRASH


def _remove_members(start: Start) -> bool:
    _configure_logs(start)
    try:
        config = resolve_definition(start).loop().consumer_source().config
    except Exception:  # noqa: BLE001 - the exit code reports it
        _log.exception("the dead member cannot be removed from its group")
        return False
    return evict_dead(config, start.evict, successor=False)
