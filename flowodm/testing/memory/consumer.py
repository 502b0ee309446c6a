"""A consumer of the in-memory Kafka, with the methods of confluent_kafka.Consumer."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from flowodm.testing.memory.message import MemoryMessage
from flowodm.testing.memory.topics import metadata_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowodm.testing.memory.kafka import InMemoryKafka
    from flowodm.testing.memory.topics import MemoryCluster

    Rebalance = Callable[[Any, list[TopicPartition]], Any]

TP: TypeAlias = tuple[str, int]
_LONGEST_WAIT = 3600.0
_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - the constant's public name


class MemoryConsumer:
    """Reads the in-memory Kafka's topics, in the order in which all of their records came.

    Args:
        kafka: Where records are.
        config: As for confluent_kafka.Consumer. What has an effect: ``group.id``,
            ``auto.offset.reset``, ``enable.auto.commit``, ``enable.partition.eof``, ``on_commit``.

    Raises:
        KafkaException: There is no ``group.id``.
    """

    def __init__(self, kafka: InMemoryKafka, config: dict[str, Any]) -> None:
        if not config.get("group.id"):
            raise KafkaException(
                KafkaError(KafkaError._INVALID_ARG, "group.id must be set")  # noqa: SLF001 - public
            )
        self.closed = False
        self.turn = threading.Lock()  # as flowodm.connection.clients.SharedConsumer has it
        self.config = config
        self._kafka = kafka
        self._group: str = config["group.id"]
        self._on_commit = config.get("on_commit")
        self._eof = _true(config.get("enable.partition.eof", False))
        self._auto = _true(config.get("enable.auto.commit", True))
        self._calls: deque[Callable[[], Any]] = deque()
        self._topics: list[str] = []
        self._on_assign: Rebalance | None = None
        self._on_revoke: Rebalance | None = None
        self._owns = False
        self._assigned_in_callback = False
        self._positions: dict[TP, int] = {}
        self._ends_told: dict[TP, int] = {}
        self._paused: set[TP] = set()

    # ---- the group -----------------------------------------------------------------------

    def subscribe(
        self,
        topics: list[str],
        on_assign: Rebalance | None = None,
        on_revoke: Rebalance | None = None,
        on_lost: Rebalance | None = None,  # noqa: ARG002 - nothing is ever lost here
    ) -> None:
        """Join the group; partitions come in a later poll()."""
        self._check_open()
        with self._kafka.changed:
            self._topics = list(topics)
            self._on_assign, self._on_revoke = on_assign, on_revoke
            members = self._kafka.members[self._group]
            if self not in members:
                members.append(self)
            self._kafka.changed.notify_all()

    def unsubscribe(self) -> None:
        """Leave the group."""
        self._check_open()
        self._leave()

    def close(self) -> None:
        """Leave the group; a second time nothing happens."""
        if not self.closed:
            if self._auto:
                self._commit_positions()
            self._leave()
            self.closed = True

    def memberid(self) -> str:
        """A name, as long as it is in the group."""
        return f"memory-{id(self)}" if self._topics else ""

    def consumer_group_metadata(self) -> bytes:
        """Nothing that anybody could use."""
        return b""

    def _leave(self) -> None:
        if self._owns and self._on_revoke is not None:
            self._on_revoke(self, self.assignment())
        with self._kafka.changed:
            self._topics, self._owns = [], False
            self._positions.clear()
            members = self._kafka.members[self._group]
            if self in members:
                members.remove(self)
            self._kafka.changed.notify_all()

    def _join_if_its_turn(self) -> None:
        """The first member has all partitions."""
        with self._kafka.changed:
            members = self._kafka.members[self._group]
            if self._owns or not members or members[0] is not self:
                return
            self._owns = True
            places = [
                TopicPartition(topic, number)
                for topic in self._topics
                for number in range(len(self._kafka.topic(topic)))
            ]
        self._assigned_in_callback = False
        if self._on_assign is not None:
            self._on_assign(self, places)
        if not self._assigned_in_callback:
            self.assign(places)

    # ---- what is assigned ----------------------------------------------------------------

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read exactly these, each from its offset, or from what is committed."""
        with self._kafka.changed:
            self._positions.clear()
            self._ends_told.clear()
            self.incremental_assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read these too."""
        self._check_open()
        self._assigned_in_callback = True
        with self._kafka.changed:
            for place in partitions:
                self._positions[place.topic, place.partition] = self._begin(place)

    def unassign(self) -> None:
        """Read nothing."""
        self.assign([])

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Do not read these any more."""
        for place in partitions:
            self._positions.pop((place.topic, place.partition), None)

    def assignment(self) -> list[TopicPartition]:
        """What is read."""
        return [TopicPartition(*tp) for tp in self._positions]

    def _begin(self, place: TopicPartition) -> int:
        tp = (place.topic, place.partition)
        if place.offset >= 0:
            return place.offset
        if place.offset == OFFSET_BEGINNING:
            return 0
        if place.offset != OFFSET_END:
            committed = self._kafka.offsets[self._group].get(tp)
            if committed is not None:
                return committed[0]
            if self.config.get("auto.offset.reset", "latest") in {"earliest", "smallest"}:
                return 0
        return self._end(tp)

    def _end(self, tp: TP) -> int:
        log = self._kafka.topic(tp[0])
        return len(log[tp[1]]) if tp[1] < len(log) else 0

    # ---- reading -------------------------------------------------------------------------

    def poll(self, timeout: float | None = None) -> MemoryMessage | None:
        """The next record, the end of a partition, or None after so many seconds."""
        found = self.consume(1, -1 if timeout is None else timeout)
        return found[0] if found else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[MemoryMessage]:
        """Up to so many records; waits for all of them, at most so many seconds."""
        self._check_open()
        kafka = self._kafka
        deadline = float("inf") if timeout < 0 else time.monotonic() + timeout
        if self._auto:
            self._commit_positions()
        nudges = kafka.nudges
        found: list[MemoryMessage] = []
        while True:
            self._serve()
            with kafka.changed:
                while len(found) < num_messages and (message := self._next()) is not None:
                    found.append(message)
                left = deadline - time.monotonic()
                if len(found) >= num_messages or left <= 0 or kafka.nudges != nudges:
                    return found
                if not self._calls:
                    kafka.changed.wait(min(left, _LONGEST_WAIT))

    def _serve(self) -> None:
        """Call what waits to be called, outside of the lock."""
        self._join_if_its_turn()
        while self._calls:
            self._calls.popleft()()

    def _next(self) -> MemoryMessage | None:
        best: tuple[int, MemoryMessage] | None = None
        for tp, position in self._positions.items():
            log = self._kafka.topic(tp[0])[tp[1]]
            if tp in self._paused:
                continue
            if position < len(log):
                if best is None or log[position][0] < best[0]:
                    best = log[position]
            elif self._eof and self._ends_told.get(tp) != position:
                self._ends_told[tp] = position
                return MemoryMessage(*tp, position, error=KafkaError(_END))
        if best is None:
            return None
        message = best[1]
        self._positions[message.topic(), message.partition()] = message.offset() + 1
        return message

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Read nothing of these."""
        self._paused |= _tps(partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Read them again."""
        with self._kafka.changed:
            self._paused -= _tps(partitions)
            self._kafka.changed.notify_all()

    def seek(self, partition: TopicPartition) -> None:
        """Go on from another offset."""
        tp = (partition.topic, partition.partition)
        if tp not in self._positions:
            raise KafkaException(
                KafkaError(KafkaError._STATE, f"{tp} is not assigned")  # noqa: SLF001 - public
            )
        with self._kafka.changed:
            self._positions[tp] = self._begin(partition)
            self._ends_told.pop(tp, None)
            self._kafka.changed.notify_all()

    # ---- offsets -------------------------------------------------------------------------

    def commit(
        self,
        message: MemoryMessage | None = None,
        offsets: list[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        """Commit; the answer comes in a later poll(), or at once if not asynchronous."""
        self._check_open()
        if message is not None:
            offsets = [TopicPartition(message.topic(), message.partition(), message.offset() + 1)]
        elif offsets is None:
            offsets = [TopicPartition(*tp, position) for tp, position in self._positions.items()]
        kafka, answer = self._kafka, list(offsets)
        with kafka.changed:
            for wanted in answer:
                kafka.offsets[self._group][wanted.topic, wanted.partition] = (
                    wanted.offset,
                    wanted.metadata or "",
                )
            if self._on_commit is not None:
                on_commit = self._on_commit
                self._calls.append(lambda: on_commit(None, answer))
            kafka.changed.notify_all()
        return None if asynchronous else answer

    def store_offsets(
        self, message: MemoryMessage | None = None, offsets: list[TopicPartition] | None = None
    ) -> None:
        """Nothing: with auto-commit the positions themselves are committed."""

    def committed(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        """What the group has committed; OFFSET_INVALID where it has not."""
        del timeout
        self._check_open()
        with self._kafka.changed:
            known = self._kafka.offsets[self._group]
            return [
                TopicPartition(
                    p.topic, p.partition, *known.get((p.topic, p.partition), (OFFSET_INVALID,))
                )
                for p in partitions
            ]

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Where reading goes on."""
        return [
            TopicPartition(
                p.topic, p.partition, self._positions.get((p.topic, p.partition), OFFSET_INVALID)
            )
            for p in partitions
        ]

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float | None = None, cached: bool = False
    ) -> tuple[int, int]:
        """The first offset, and the one that the next record gets."""
        del timeout, cached
        with self._kafka.changed:
            return 0, self._end((partition.topic, partition.partition))

    def offsets_for_times(
        self, partitions: list[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]:
        """The first record with such a timestamp or a later one; OFFSET_END if there is none."""
        del timeout
        with self._kafka.changed:
            return [TopicPartition(p.topic, p.partition, self._at(p)) for p in partitions]

    def _at(self, place: TopicPartition) -> int:
        if place.offset == OFFSET_BEGINNING:
            return 0
        tp = (place.topic, place.partition)
        if place.offset == OFFSET_END:
            return self._end(tp)
        for offset, (_, message) in enumerate(self._kafka.topic(tp[0])[tp[1]]):
            if message.timestamp()[1] >= place.offset:
                return offset
        return OFFSET_END

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> MemoryCluster:
        """As confluent_kafka.Consumer.list_topics."""
        del timeout
        self._check_open()
        return metadata_of(self._kafka, topic)

    def _commit_positions(self) -> None:
        moved = [
            TopicPartition(*tp, position)
            for tp, position in self._positions.items()
            if self._kafka.offsets[self._group].get(tp, (0, ""))[0] < position
        ]
        if moved:
            self.commit(offsets=moved)

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("Consumer closed")


def _true(value: object) -> bool:
    return str(value).lower() == "true"


def _tps(partitions: Iterable[TopicPartition]) -> set[TP]:
    return {(p.topic, p.partition) for p in partitions}
