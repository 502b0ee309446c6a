"""Consumer loops under test: made, run in a thread of their own, and watched from outside."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from confluent_kafka import Consumer

from flowodm import AsyncConsumerLoop, BaseSettings, ConsumerLoop, FlowBaseModel
from flowodm.events import Committed, Handled, LoopStatus, Outcome, Rebalanced
from support.brokers.records import Raw, committed_offsets, end_offsets, produce
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from flowodm.events import Event

E = TypeVar("E")

#: The three ways to call handlers: in the caller's thread, in several threads, as tasks.
KINDS = ("sync", "threads", "async")
#: One of each class, where several threads would show nothing more.
BOTH = ("sync", "async")
#: Bytes that no model reads.
POISON = b"\xff\xff\xff"
PATIENCE = 30.0


def brisk(**values: Any) -> BaseSettings:
    """A profile whose members notice a rebalance within 0.2 s and die within 6 s."""
    defaults = {
        "session_timeout_ms": 6_000,
        "heartbeat_interval_ms": 200,
        "max_poll_interval_ms": 60_000,
    }
    return BaseSettings(**{**defaults, **values})


def number(n: int) -> bytes:
    """The bare Avro record ``{n: long}``."""
    rest, encoded = (n << 1) ^ (n >> 63), bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])


def numbers_model(topic: str, group: str) -> type[FlowBaseModel]:
    """A model whose only field tells its records apart."""

    class Numbered(FlowBaseModel):
        class Settings:
            pass

        n: int

    Numbered.Settings.topic = topic  # type: ignore[attr-defined]  # made for one test
    Numbered.Settings.consumer_group = group  # type: ignore[attr-defined]  # as above
    return Numbered


class Events:
    """An observer that keeps everything it is told."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.all.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.all if isinstance(event, kind)]

    def rebalances(self) -> list[str]:
        return [event.kind.value for event in self.of(Rebalanced)]

    def outcomes(self) -> dict[Outcome, int]:
        total: dict[Outcome, int] = {}
        for event in self.of(Handled):
            for outcome, count in event.outcomes.items():
                total[outcome] = total.get(outcome, 0) + count
        return total

    def commit_errors(self) -> list[str]:
        return [event.error for event in self.of(Committed) if event.error is not None]


class Running:
    """A loop that runs in a thread; leaving the block stops it, whatever the test did.

    Attributes:
        loop: The loop.
        events: What it has reported.
        error: What run() raised.
    """

    def __init__(self, loop: ConsumerLoop | AsyncConsumerLoop, events: Events) -> None:
        self.loop = loop
        self.events = events
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="loop-under-test", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self.loop.stop(now=True)
            self._thread.join(PATIENCE)

    def joined(self, partitions: int | None = None) -> Self:
        """Wait until it has its assignment, of so many partitions if they matter."""

        def has() -> bool:
            status = self.status()
            return status.joined and partitions in {None, len(status.assigned)}

        wait_until(has, PATIENCE, f"the loop joined and owns {partitions} partitions")
        return self

    def stop(self) -> None:
        """Stop it gracefully and raise what run() raised."""
        self.loop.stop()
        self.end()

    def end(self, timeout: float = PATIENCE) -> None:
        """Wait for its end and raise what run() raised."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"run() did not end within {timeout:g} s"
        if self.error is not None:
            raise self.error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def status(self) -> LoopStatus:
        return self.loop.status()

    def _main(self) -> None:
        try:
            if isinstance(self.loop, ConsumerLoop):
                self.loop.run()
            else:
                asyncio.run(self._run_async(self.loop))
        except BaseException as error:  # noqa: BLE001 - raised again by end()
            self.error = error

    @staticmethod
    async def _run_async(loop: AsyncConsumerLoop) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
        await loop.run()


class Bench:
    """One topic, one group and its model on one broker.

    Args:
        kafka: The broker's address.
        topic: An existing topic.
        group: The group of the loops.
    """

    def __init__(self, kafka: str, topic: str, group: str) -> None:
        self.kafka = kafka
        self.topic = topic
        self.group = group
        self.model = numbers_model(topic, group)

    # ---- records -------------------------------------------------------------------------

    def produce(
        self,
        numbers: Iterable[int],
        *,
        key: Callable[[int], bytes | None] = lambda _: None,
        partition: Callable[[int], int] = lambda _: 0,
    ) -> int:
        """One record a number; by default without a key, in partition 0."""
        records = (Raw(number(n), key(n), partition(n)) for n in numbers)
        return produce(self.kafka, self.topic, records)

    def produce_raw(self, *records: Raw) -> int:
        return produce(self.kafka, self.topic, records)

    def committed(self) -> dict[int, int]:
        """Partition to committed offset, as another client sees it."""
        return committed_offsets(self.kafka, self.group, self.topic)

    def ends(self) -> dict[int, int]:
        """Partition to end offset, of those partitions that hold records."""
        return {p: end for p, end in end_offsets(self.kafka, self.topic).items() if end}

    # ---- loops ---------------------------------------------------------------------------

    def loop(
        self, kind: str, handler: Callable[[Any], Any], **options: Any
    ) -> ConsumerLoop | AsyncConsumerLoop:
        """A loop of one of KINDS.

        Where ``handler`` and ``error_handler`` are plain functions, they run as tasks in a thread
        each, so that they may wait.
        """
        options.setdefault("settings", brisk())
        options.setdefault("commit_strategy", "after_processing")
        if kind == "async":
            options.setdefault("max_concurrent", 4)
            if options.get("error_handler") is not None:
                options["error_handler"] = in_a_thread(options["error_handler"])
            return AsyncConsumerLoop(self.model, in_a_thread(handler), **options)
        if kind == "threads":
            options.setdefault("max_concurrent", 4)
        return ConsumerLoop(self.model, handler, **options)

    def run(self, kind: str, handler: Callable[[Any], Any], **options: Any) -> Running:
        """The same, to run in a ``with`` block, with an Events observer."""
        events = Events()
        observers = [events, *options.pop("observers", ())]
        return Running(self.loop(kind, handler, observers=observers, **options), events)

    # ---- a second opinion ------------------------------------------------------------------

    def plain_member(self) -> PlainMember:
        """A member of the same group without any flowodm in it."""
        return PlainMember(self)


class PlainMember:
    """A plain cooperative-sticky consumer in the loops' group."""

    def __init__(self, bench: Bench) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bench.kafka,
                "group.id": bench.group,
                "partition.assignment.strategy": "cooperative-sticky",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 200,
            }
        )
        self._topic = bench.topic
        self._values: list[bytes] = []

    def __enter__(self) -> Self:
        self._consumer.subscribe([self._topic])
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def owns(self) -> list[int]:
        """Poll, and tell the partitions it has."""
        self.received()
        return sorted(place.partition for place in self._consumer.assignment())

    def received(self) -> list[bytes]:
        """Poll, and tell the values it got so far."""
        for message in self._consumer.consume(500, 0.02):
            assert message.error() is None, message.error()
            self._values.append(message.value())
        return self._values


class Gate:
    """What a handler waits at until the test opens it; counts who waits. Never for ever."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.waiting = 0

    def wait(self) -> None:
        with self._lock:
            self.waiting += 1
        try:
            assert self._open.wait(2 * PATIENCE), "nobody opened the gate"
        finally:
            with self._lock:
                self.waiting -= 1

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


def in_a_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function that calls a plain one in a thread; a coroutine function as it is."""
    if inspect.iscoroutinefunction(function):
        return function

    async def called(*arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)

    return called
