"""A consumer of the in-memory Kafka, with the methods of confluent_kafka.Consumer."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

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

    from flowodm.testing.memory.log import TP, MemoryLog, Stored
    from flowodm.testing.memory.topics import MemoryCluster

    Rebalance = Callable[[Any, list[TopicPartition]], Any]

_LONGEST_WAIT = 3600.0
"""Seconds of one wait on the log's lock; a lock cannot wait without a limit."""
_PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001 - the constant's public name


class MemoryConsumer:
    """Reads the in-memory Kafka's topics, in the order in which their records were appended.

    Args:
        log: The in-memory Kafka's state.
        config: As for confluent_kafka.Consumer. The properties that have an effect:
            ``group.id``, ``auto.offset.reset``, ``enable.auto.commit``,
            ``enable.partition.eof``, ``on_commit``.

    Attributes:
        closed: Whether it was closed.
        turn: As in flowodm.connection.clients.SharedConsumer.

    Raises:
        KafkaException: There is no ``group.id``.
    """

    def __init__(self, log: MemoryLog, config: dict[str, Any]) -> None:
        if not config.get("group.id"):
            raise KafkaException(
                KafkaError(KafkaError._INVALID_ARG, "group.id must be set")  # noqa: SLF001 - public
            )
        self.closed = False
        self.turn = threading.Lock()
        self.config = config
        self._log = log
        self._group: str = config["group.id"]
        self._on_commit = config.get("on_commit")
        self._reports_ends = _is_true(config.get("enable.partition.eof", False))
        self._auto_commit = _is_true(config.get("enable.auto.commit", True))
        self._callbacks: deque[Callable[[], Any]] = deque()
        self._topics: list[str] = []
        self._on_assign: Rebalance | None = None
        self._on_revoke: Rebalance | None = None
        self._is_assigned = False
        self._assigned_in_callback = False
        self._positions: dict[TP, int] = {}
        self._reported_ends: dict[TP, int] = {}
        self._paused: set[TP] = set()

    # ---- the group -----------------------------------------------------------------------

    def subscribe(
        self,
        topics: list[str],
        on_assign: Rebalance | None = None,
        on_revoke: Rebalance | None = None,
        on_lost: Rebalance | None = None,  # noqa: ARG002 - nothing is ever lost here
    ) -> None:
        """Join the group; a later poll() assigns the partitions."""
        self._check_open()
        with self._log.changed:
            self._topics = list(topics)
            self._on_assign, self._on_revoke = on_assign, on_revoke
            members = self._log.members[self._group]
            if self not in members:
                members.append(self)
            self._log.changed.notify_all()

    def unsubscribe(self) -> None:
        """Leave the group."""
        self._check_open()
        self._leave()

    def close(self) -> None:
        """Leave the group; a second call does nothing."""
        if not self.closed:
            if self._auto_commit:
                self._commit_positions()
            self._leave()
            self.closed = True

    def memberid(self) -> str:
        """Return the member's id; an empty string outside of a group."""
        return f"memory-{id(self)}" if self._topics else ""

    def consumer_group_metadata(self) -> bytes:
        """Return nothing: there are no transactions."""
        return b""

    def _leave(self) -> None:
        if self._is_assigned and self._on_revoke is not None:
            self._on_revoke(self, self.assignment())
        with self._log.changed:
            self._topics, self._is_assigned = [], False
            self._positions.clear()
            members = self._log.members[self._group]
            if self in members:
                members.remove(self)
            self._log.changed.notify_all()

    def _take_assignment(self) -> None:
        """Take all partitions, if this is the group's first member and has none yet."""
        with self._log.changed:
            members = self._log.members[self._group]
            if self._is_assigned or not members or members[0] is not self:
                return
            self._is_assigned = True
            places = self._subscribed_partitions()
        self._assigned_in_callback = False
        if self._on_assign is not None:
            self._on_assign(self, places)
        if not self._assigned_in_callback:
            self.assign(places)

    def _subscribed_partitions(self) -> list[TopicPartition]:
        places = []
        for topic in self._topics:
            size = len(self._log.partitions_of(topic))
            places += [TopicPartition(topic, number) for number in range(size)]
        return places

    # ---- the assignment ------------------------------------------------------------------

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these partitions only, each from its own offset or from the committed one."""
        with self._log.changed:
            self._positions.clear()
            self._reported_ends.clear()
            self.incremental_assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read these partitions too."""
        self._check_open()
        self._assigned_in_callback = True
        with self._log.changed:
            for place in partitions:
                self._positions[place.topic, place.partition] = self._start_offset(place)

    def unassign(self) -> None:
        """Read no partition."""
        self.assign([])

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Read these partitions no longer."""
        for place in partitions:
            self._positions.pop((place.topic, place.partition), None)

    def assignment(self) -> list[TopicPartition]:
        """Return the assigned partitions."""
        return [TopicPartition(*tp) for tp in self._positions]

    def _start_offset(self, place: TopicPartition) -> int:
        tp = (place.topic, place.partition)
        if place.offset >= 0:
            return place.offset
        if place.offset == OFFSET_BEGINNING:
            return 0
        if place.offset == OFFSET_END:
            return self._end_offset(tp)
        committed = self._log.offsets[self._group].get(tp)
        if committed is not None:
            return committed[0]
        if self.config.get("auto.offset.reset", "latest") in {"earliest", "smallest"}:
            return 0
        return self._end_offset(tp)

    def _end_offset(self, tp: TP) -> int:
        topic, number = tp
        partitions = self._log.partitions_of(topic)
        return len(partitions[number]) if number < len(partitions) else 0

    # ---- reading -------------------------------------------------------------------------

    def poll(self, timeout: float | None = None) -> MemoryMessage | None:
        """Return the next record or the end of a partition; None after ``timeout`` seconds."""
        messages = self.consume(1, -1 if timeout is None else timeout)
        return messages[0] if messages else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[MemoryMessage]:
        """Return up to ``num_messages`` records; wait for them for at most ``timeout`` seconds."""
        self._check_open()
        deadline = float("inf") if timeout < 0 else time.monotonic() + timeout
        if self._auto_commit:
            self._commit_positions()
        changed, nudges = self._log.changed, self._log.nudges
        messages: list[MemoryMessage] = []
        while True:
            self._take_assignment()
            self._run_callbacks()
            with changed:
                messages += self._available(num_messages - len(messages))
                remaining = deadline - time.monotonic()
                is_nudged = self._log.nudges != nudges
                if len(messages) >= num_messages or remaining <= 0 or is_nudged:
                    return messages
                if not self._callbacks:
                    changed.wait(min(remaining, _LONGEST_WAIT))

    def _run_callbacks(self) -> None:
        while self._callbacks:
            self._callbacks.popleft()()

    def _available(self, number: int) -> list[MemoryMessage]:
        """Return up to ``number`` records, without waiting."""
        messages: list[MemoryMessage] = []
        while len(messages) < number and (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> MemoryMessage | None:
        oldest: Stored | None = None
        for tp, position in self._positions.items():
            if tp in self._paused:
                continue
            topic, number = tp
            records = self._log.partitions_of(topic)[number]
            if position < len(records):
                if oldest is None or records[position].sequence < oldest.sequence:
                    oldest = records[position]
            elif self._reports_ends and self._reported_ends.get(tp) != position:
                self._reported_ends[tp] = position
                return MemoryMessage(*tp, position, error=KafkaError(_PARTITION_EOF))
        if oldest is None:
            return None
        message = oldest.message
        self._positions[message.topic(), message.partition()] = message.offset() + 1
        return message

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Read nothing from these partitions until :meth:`resume`."""
        self._paused |= _tps(partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Read from these partitions again."""
        with self._log.changed:
            self._paused -= _tps(partitions)
            self._log.changed.notify_all()

    def seek(self, partition: TopicPartition) -> None:
        """Continue from another offset of an assigned partition."""
        tp = (partition.topic, partition.partition)
        if tp not in self._positions:
            raise KafkaException(
                KafkaError(KafkaError._STATE, f"{tp} is not assigned")  # noqa: SLF001 - public
            )
        with self._log.changed:
            self._positions[tp] = self._start_offset(partition)
            self._reported_ends.pop(tp, None)
            self._log.changed.notify_all()

    # ---- offsets -------------------------------------------------------------------------

    def commit(
        self,
        message: MemoryMessage | None = None,
        offsets: list[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        """Commit offsets, and let a later poll() call ``on_commit``.

        Args:
            message: Commit the offset behind this record.
            offsets: Commit these; by default the positions of all assigned partitions.
            asynchronous: Return None instead of the committed offsets.
        """
        self._check_open()
        if message is not None:
            offsets = [TopicPartition(message.topic(), message.partition(), message.offset() + 1)]
        elif offsets is None:
            offsets = [TopicPartition(*tp, position) for tp, position in self._positions.items()]
        answer = list(offsets)
        with self._log.changed:
            committed = self._log.offsets[self._group]
            for place in answer:
                committed[place.topic, place.partition] = place.offset, place.metadata or ""
            if self._on_commit is not None:
                on_commit = self._on_commit
                self._callbacks.append(lambda: on_commit(None, answer))
            self._log.changed.notify_all()
        return None if asynchronous else answer

    def store_offsets(
        self, message: MemoryMessage | None = None, offsets: list[TopicPartition] | None = None
    ) -> None:
        """Do nothing: auto-commit commits the positions themselves."""

    def committed(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        """Return the group's committed offsets; OFFSET_INVALID where there is none."""
        del timeout
        self._check_open()
        with self._log.changed:
            committed = self._log.offsets[self._group]
            return [
                TopicPartition(*tp, *committed.get(tp, (OFFSET_INVALID,)))
                for tp in map(_tp, partitions)
            ]

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Return the offsets of the next records; OFFSET_INVALID where nothing is assigned."""
        return [
            TopicPartition(*tp, self._positions.get(tp, OFFSET_INVALID))
            for tp in map(_tp, partitions)
        ]

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float | None = None, cached: bool = False
    ) -> tuple[int, int]:
        """Return the low and the high watermark of a partition."""
        del timeout, cached
        with self._log.changed:
            return 0, self._end_offset(_tp(partition))

    def offsets_for_times(
        self, partitions: list[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]:
        """Return the first offsets with these timestamps or later ones; OFFSET_END if none."""
        del timeout
        with self._log.changed:
            return [TopicPartition(p.topic, p.partition, self._offset_at(p)) for p in partitions]

    def _offset_at(self, place: TopicPartition) -> int:
        """Return the first offset whose timestamp is at least ``place.offset`` milliseconds."""
        if place.offset == OFFSET_BEGINNING:
            return 0
        if place.offset == OFFSET_END:
            return self._end_offset(_tp(place))
        records = self._log.partitions_of(place.topic)[place.partition]
        for offset, stored in enumerate(records):
            if stored.message.timestamp()[1] >= place.offset:
                return offset
        return OFFSET_END

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> MemoryCluster:
        """Describe the topics; see confluent_kafka.Consumer.list_topics."""
        del timeout
        self._check_open()
        return metadata_of(self._log, topic)

    def _commit_positions(self) -> None:
        committed = self._log.offsets[self._group]
        moved = [
            TopicPartition(*tp, position)
            for tp, position in self._positions.items()
            if committed.get(tp, (0, ""))[0] < position
        ]
        if moved:
            self.commit(offsets=moved)

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("Consumer closed")


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"


def _tp(place: TopicPartition) -> TP:
    return place.topic, place.partition


def _tps(places: Iterable[TopicPartition]) -> set[TP]:
    return {_tp(place) for place in places}
