"""Run a loop over given records, without a broker, and return what it did."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from flowodm.connection import get_kafka_connection
from flowodm.consumer import AsyncConsumerLoop, ConsumerLoop
from flowodm.consumer.engine.retry import FailurePolicy, Retry
from flowodm.events import LoopState, Stage
from flowodm.exceptions import ConfigurationError
from flowodm.model import FlowBaseModel, settings_of
from flowodm.testing.memory.kafka import InMemoryKafka
from flowodm.testing.recorder import Recorder
from flowodm.testing.records import Record
from flowodm.testing.results import LoopResult, dead_letters_of, fates_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowodm.testing.memory.message import MemoryMessage

Loop: TypeAlias = ConsumerLoop | AsyncConsumerLoop
Given: TypeAlias = "FlowBaseModel | Record | bytes"
Raised: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]

_CHECK_INTERVAL = 0.02
"""Seconds until the next check whether all records are settled, if nothing changes before."""
_POLL_TIMEOUT = 0.005
"""Seconds of the loop's longest poll; after each poll it commits what is settled."""


def run_loop(
    loop: Loop,
    records: Iterable[Given] = (),
    *,
    existing: Iterable[Given] = (),
    partitions: int = 1,
    raises: Raised | None = None,
    real_delays: bool = False,
    timeout: float = 30.0,
    kafka: InMemoryKafka | None = None,
) -> LoopResult:
    """Run a loop until it has settled the given records, or has ended by itself.

    Everything except Kafka is real: decoding, order, retries, commits, dead letters, hooks. A
    ConsumerLoop runs its handler in the calling thread, as always; an AsyncConsumerLoop gets its
    own event loop (within a running one, use :func:`arun_loop`). Signal handlers are not changed.

    Args:
        loop: The loop; also one that a decorator has made from a handler.
        records: Records that arrive together after the loop has joined its group: messages,
            :class:`Record` objects, or bytes.
        existing: Records that are in the topic before the loop starts.
        partitions: The number of the topic's partitions, if it does not have more already.
        raises: The exception that run() is expected to raise.
        real_delays: Wait before retries. By default the loop does not wait; the failures in the
            result have the delays in both cases.
        timeout: Seconds after which the loop is stopped.
        kafka: An in-memory Kafka that is in use, with its topics and offsets. By default the one
            whose context this is called in; without one, an empty one.

    Raises:
        AssertionError: Records were not settled in time, or run() did not raise the expected
            exception.
        TypeError: A given record is not a record.
        ValueError: A record's partition does not exist.
        Exception: The exception of run(), if it was not expected.
    """
    if isinstance(loop, AsyncConsumerLoop):
        _refuse_a_running_event_loop()
        return asyncio.run(
            arun_loop(
                loop,
                records,
                existing=existing,
                partitions=partitions,
                raises=raises,
                real_delays=real_delays,
                timeout=timeout,
                kafka=kafka,
            )
        )
    with _Drive(loop, kafka, partitions, real_delays=real_delays, timeout=timeout) as drive:
        drive.give(existing, records)
        try:
            loop.run()
        except BaseException as error:  # noqa: BLE001 - raised below, unless it is expected
            drive.ended(error)
        return drive.result(raises)


async def arun_loop(
    loop: Loop,
    records: Iterable[Given] = (),
    *,
    existing: Iterable[Given] = (),
    partitions: int = 1,
    raises: Raised | None = None,
    real_delays: bool = False,
    timeout: float = 30.0,  # noqa: ASYNC109 - the loop drains; cancelling it would be another end
    kafka: InMemoryKafka | None = None,
) -> LoopResult:
    """Run a loop on the running event loop, a ConsumerLoop in a thread; see :func:`run_loop`."""
    with _Drive(loop, kafka, partitions, real_delays=real_delays, timeout=timeout) as drive:
        drive.give(existing, records)
        try:
            if isinstance(loop, AsyncConsumerLoop):
                await loop.run()
            else:
                await asyncio.to_thread(loop.run)
        except BaseException as error:
            drive.ended(error)
            this = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and this and this.cancelling():
                raise
        return drive.result(raises)


class _Drive:
    """One run: writes the records, decides when it is over, and collects the result."""

    def __init__(
        self,
        loop: Loop,
        kafka: InMemoryKafka | None,
        partitions: int,
        *,
        real_delays: bool,
        timeout: float,
    ) -> None:
        self._loop = loop
        self._options = options = loop.options
        self._recorder = Recorder(None if real_delays else self._delay)
        self._topic = settings_of(options.model).topic
        entered = kafka or get_kafka_connection().stand_in
        self._kafka = entered if isinstance(entered, InMemoryKafka) else InMemoryKafka()
        self._is_entered = entered is self._kafka
        self._exits = ExitStack()
        self._partitions = max(partitions, 1 + max(options.partitions or (0,)))
        self._begun = self._kafka.log.count
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._real_delays = real_delays
        self._given: list[MemoryMessage] = []
        self._over = threading.Event()
        self._unsettled = ""
        self._error: BaseException | None = None
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            if not self._is_entered:
                exits.enter_context(self._kafka)
            self._kafka.create_topic(self._topic, self._partitions)
            exits.enter_context(self._loop.replaced_options(**self._recorded_options()))
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *exit_: object) -> None:
        self.ended(None)
        self._exits.close()

    def _recorded_options(self) -> dict[str, Any]:
        """Return the options to replace: the recorder is the handlers and an observer."""
        options, recorder = self._options, self._recorder
        awaits = isinstance(self._loop, AsyncConsumerLoop)
        batches = options.batch_size is not None
        recorded: dict[str, Any] = {
            "handler": recorder.handler(options.handler, batches=batches, awaits=awaits),
            "observers": [recorder.observe, *options.observers],
            "handle_signals": False,
            "poll_timeout": min(options.poll_timeout, _POLL_TIMEOUT),
        }
        if options.tombstone_handler is not None:
            recorded["tombstone_handler"] = recorder.tombstone_handler(
                options.tombstone_handler, awaits=awaits
            )
        if not self._real_delays:
            recorded["retry_delay"] = 0.0
        return recorded

    def _delay(self, failures: int) -> float:
        """Return the delay before a retry, without the jitter."""
        options = self._options
        policy = FailurePolicy(
            max_retries=failures,
            retry_delay=options.retry_delay,
            backoff=options.retry_backoff,
            max_delay=options.retry_max_delay,
        )
        verdict = policy.judge(Stage.HANDLER, failures, Exception())
        return verdict.delay if isinstance(verdict, Retry) else 0.0

    # ---- the records ---------------------------------------------------------------------

    def give(self, existing: Iterable[Given], records: Iterable[Given]) -> None:
        """Append the existing records, and the others after the loop has joined its group."""
        self._given += self._kafka.log.append_all(self._written(existing))
        later = self._written(records)
        self._watcher = threading.Thread(
            target=self._watch, args=(later,), name="flowodm-test-watcher", daemon=True
        )
        self._watcher.start()

    def _written(self, given: Iterable[Given]) -> list[tuple[str, Record]]:
        return [(self._topic, self._placed(self._write(item))) for item in given]

    def _placed(self, record: Record) -> Record:
        pinned, size = self._options.partitions, len(self._kafka.log.topics[self._topic])
        if record.partition is None:
            return record if pinned is None else replace(record, partition=pinned[0])
        if not 0 <= record.partition < size:
            raise ValueError(
                f"topic {self._topic} has no partition {record.partition}: it has {size}, numbered "
                "from 0; give partitions=... for more"
            )
        return record

    def _write(self, given: Given) -> Record:
        record = given if isinstance(given, Record) else Record(given)
        message = record.value
        if message is None or isinstance(message, bytes):
            return record
        if not isinstance(message, FlowBaseModel):
            raise TypeError(f"a record must be a message, a Record or bytes, got {message!r}")
        with self._kafka.log.staging() as staged:
            message.produce_nowait(key=record.key, headers=list(record.headers) or None)
        if len(staged) != 1:
            raise ConfigurationError(
                f"{type(message).__name__}.get_producer returns a producer of its own: give the "
                "record as bytes"
            )
        written = staged[0][1]
        return replace(written, partition=record.partition, timestamp=record.timestamp)

    # ---- the end -------------------------------------------------------------------------

    def _watch(self, later: list[tuple[str, Record]]) -> None:
        """Append the later records, wait until all are settled, and stop the loop; in a thread."""
        try:
            if self._wait(self._joined):
                self._given += self._kafka.log.append_all(later)
                self._wait(self._settled)
        finally:
            late = time.monotonic() >= self._deadline and not self._over.is_set()
            if late:
                self._unsettled = self._missing()
            session = self._loop.session
            if session is not None:
                session.stop(now=late)
            if late:
                self._loop.cancel_hook()
            self._kafka.log.nudge()

    def _wait(self, condition: Callable[[], bool]) -> bool:
        changed = self._kafka.log.changed
        while not self._over.is_set() and time.monotonic() < self._deadline:
            if condition():
                return True
            with changed:
                changed.wait(_CHECK_INTERVAL)
        return False

    def _joined(self) -> bool:
        status = self._loop.status()  # that of an earlier run is not RUNNING
        return status.state is LoopState.RUNNING and status.joined

    def _settled(self) -> bool:
        """Tell whether the loop has no unsettled record, and all records are committed."""
        status = self._loop.status()
        if not self._joined() or status.buffered or status.in_flight:
            return False
        committed = self._committed()
        ends = {number: len(log) for number, log in enumerate(self._kafka.log.topics[self._topic])}
        return all(committed.get(number, 0) >= ends.get(number, 0) for _, number in status.assigned)

    def _missing(self) -> str:
        status = self._loop.status()
        state = f"after {self._timeout:g} s the loop is {status.state.value}"
        if not status.joined:
            return f"{state} and has not joined its group"
        return (
            f"{state} and has not settled all of {len(self._given)} records: "
            f"{status.in_flight} handlers are running, {status.waiting} records wait for a retry, "
            f"the committed offsets of {self._topic} are {self._committed()}"
        )

    def _committed(self) -> dict[int, int]:
        try:
            group = self._options.group
        except ConfigurationError:
            return {}  # run() raises it too
        return self._kafka.committed(group, self._topic)

    def ended(self, error: BaseException | None) -> None:
        """Note that run() has returned, or raised an error."""
        self._error = self._error or error
        self._over.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    # ---- the result ----------------------------------------------------------------------

    def result(self, raises: Raised | None) -> LoopResult:
        """Return the result; raise an error that was not expected."""
        self.ended(None)
        self._judge(raises)
        committed, recorder, options = self._committed(), self._recorder, self._options
        filtered = options.header_filter is not None
        return LoopResult(
            kafka=self._kafka,
            fates=fates_of(
                self._given,
                recorder.attempts,
                recorder.events,
                committed=committed,
                filtered=filtered,
            ),
            attempts=tuple(recorder.attempts),
            events=tuple(recorder.events),
            committed=committed,
            dead_letters=dead_letters_of(self._kafka, options.dead_letter_topic),
            produced=self._produced(),
            error=self._error,
        )

    def _judge(self, raises: Raised | None) -> None:
        error = self._error
        if self._unsettled:
            raise AssertionError(self._unsettled) from error
        if error is not None and not (raises is not None and isinstance(error, raises)):
            raise error
        if error is None and raises is not None:
            raise AssertionError(f"run() raised nothing, expected {raises}")

    def _produced(self) -> tuple[MemoryMessage, ...]:
        loop_topics = {self._topic, self._options.dead_letter_topic}
        new = self._kafka.log.records_since(self._begun)
        return tuple(message for message in new if message.topic() not in loop_topics)


def _refuse_a_running_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("an event loop is running: use `await arun_loop(...)`")
