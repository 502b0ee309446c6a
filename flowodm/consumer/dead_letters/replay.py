"""Lists the records of a dead-letter topic, and puts them back where they failed.

Nothing here joins a group. A replay commits in the name of a group without members, so that the
next replay goes on where this one ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import TopicPartition

from flowodm.connection import get_kafka_connection
from flowodm.consumer.dead_letters.headers import DeadLetter
from flowodm.consumer.dead_letters.reader import OffsetRange, TopicReader
from flowodm.consumer.dead_letters.replay_progress import LONGEST_NOTE, ReplayProgress
from flowodm.consumer.dead_letters.topic import SEND_TIMEOUT, partitions_of, too_large
from flowodm.exceptions import (
    ConfigurationError,
    FlowODMError,
    ProducerError,
    TopicError,
)
from flowodm.produce.deliveries import Delivery, enqueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Message

    Where = Callable[[DeadLetter], bool]

E = TypeVar("E", bound=FlowODMError)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one replay did.

    Attributes:
        count: Dead letters that were put back and acknowledged.
        left: Dead letters that were looked at and stay for another replay: ``where`` refused them,
            or their headers do not name a topic.
        complete: Whether the replay came to the end; False if ``limit`` or the note (see
            ``where``) ended it.
    """

    count: int
    left: int
    complete: bool


def list_dead_letters(topic: str, *, limit: int | None = None) -> Iterator[DeadLetter]:
    """Iterate over what a dead-letter topic holds now; nothing is committed.

    Each partition's dead letters come in the order of their offsets. The end of the iterator, or
    closing it, closes its connection.

    Args:
        topic: The dead-letter topic.
        limit: The most dead letters; None for all.

    Raises:
        TopicError: The topic does not exist, or may not be read.
        ConsumerError: Kafka does not answer; also while iterating.
        ConfigurationError: The address of Kafka is missing.
    """
    # Two connections: the ends are looked up at the call, and an iterator that is never started
    # holds no connection.
    with TopicReader(topic, _replay_group(topic)) as reader:
        ranges = reader.ranges()
    return _read_letters(topic, ranges, limit)


def _read_letters(
    topic: str, ranges: dict[int, OffsetRange], limit: int | None
) -> Iterator[DeadLetter]:
    count = 0
    with TopicReader(topic, _replay_group(topic)) as reader:
        for batch in reader.read(ranges):
            for record in batch:
                if count == limit:
                    return
                count += 1
                yield DeadLetter.of(record)


def replay_dead_letters(
    topic: str,
    *,
    to: str | None = None,
    limit: int | None = None,
    group_id: str | None = None,
    where: Where | None = None,
) -> Replayed:
    """Put dead letters back where they failed, each once over all calls with the same group.

    A dead letter gets back its own key, value and headers, without those of the failure and with
    one that counts its replays (``flowodm_replays``). Its timestamp is the present one, its
    partition the original one as long as that exists. It stays in the dead-letter topic. Every
    consumer group of the original topic receives it.

    Its offset is committed after the broker has acknowledged it: a crash in between repeats some
    dead letters and loses none. Two replays with the same group at the same time also repeat some.
    Kafka deletes the commits of a group without members after ``offsets.retention.minutes`` (a
    week by default); what the dead-letter topic still holds then is replayed again.

    Args:
        topic: The dead-letter topic.
        to: Another topic for all of them; None for the topic that each one names.
        limit: The most dead letters to put back; None for all up to the present end.
        group_id: The group that the progress is committed for; ``<topic>-replay`` by default.
        where: Called with each dead letter; if it returns false, the dead letter stays for another
            replay. Which ones were put back behind the first that stays goes into a note that
            Kafka limits to 4 kB, compressed: enough for 20,000 that stay here and there, for
            millions where they stand together. When the note is full, the replay ends.

    Raises:
        ConfigurationError: ``to`` is the dead-letter topic, or the address of Kafka is missing.
        TopicError: The dead-letter topic or an original topic does not exist.
        ProducerError: The broker has not acknowledged one of them. What was acknowledged before
            is committed.
        ConsumerError: Kafka does not answer, or the offsets cannot be committed.
    """
    if to == topic:
        raise ConfigurationError(f"{topic} cannot be replayed to itself; give another topic")
    with TopicReader(topic, group_id or _replay_group(topic)) as reader:
        return _Replay(reader, to, limit, where).run()


def _replay_group(topic: str) -> str:
    return f"{topic}-replay"


class _Replay:
    """One call of :func:`replay_dead_letters`."""

    def __init__(
        self, reader: TopicReader, to: str | None, limit: int | None, where: Where | None
    ) -> None:
        self._reader = reader
        self._to = to
        self._limit = limit
        self._wants = where or (lambda _: True)
        self._producer = get_kafka_connection().producer
        self._progress: dict[int, ReplayProgress] = {}
        self._partitions: dict[str, list[int]] = {}
        self._pending: list[tuple[DeadLetter, Delivery]] = []
        self._count = self._left = 0
        self._note_is_full = False

    def run(self) -> Replayed:
        """Send batch after batch, wait for the acknowledgements, and commit."""
        ranges = self._resume(self._reader.ranges())
        for batch in self._reader.read(ranges):
            if not self._replay(batch):
                return Replayed(self._count, self._left, complete=False)
        return Replayed(self._count, self._left, complete=True)

    def _resume(self, ranges: dict[int, OffsetRange]) -> dict[int, OffsetRange]:
        """Go on where the group's last replay ended; return what is still to be read."""
        committed = self._reader.committed(sorted(ranges))
        unread = {}
        for number, offsets in ranges.items():
            offset, note = committed.get(number, (offsets.first, ""))
            if offset > offsets.end:  # the topic was deleted and created again
                offset, note = offsets.first, ""
            self._progress[number] = ReplayProgress(offset, note)
            unread[number] = OffsetRange(max(offset, offsets.first), offsets.end)
        return unread

    def _replay(self, batch: list[Message]) -> bool:
        """Replay a batch; return whether the replay goes on behind it."""
        deadline = time.monotonic() + SEND_TIMEOUT
        try:
            for record in batch:
                if self._note_is_full or self._count + len(self._pending) == self._limit:
                    return False
                self._look_at(DeadLetter.of(record), deadline)
        finally:
            self._settle(deadline)
        return True

    def _look_at(self, letter: DeadLetter, deadline: float) -> None:
        """Pass over a dead letter, leave it, or send it."""
        progress = self._progress[letter.partition]
        target = self._to or letter.original_topic
        if progress.is_done(letter.offset):
            progress.done(letter.offset)
        elif not target or target == letter.topic or not self._wants(letter):
            progress.left(letter.offset)
            self._left += 1
        else:
            try:
                self._pending.append((letter, self._send(letter, deadline)))
            except (ProducerError, TopicError) as error:
                raise _with_place(error, letter) from error

    def _send(self, letter: DeadLetter, deadline: float) -> Delivery:
        target = self._to or str(letter.original_topic)
        delivery = Delivery(target)
        enqueue(self._producer, delivery, self._message_of(letter, target), deadline)
        return delivery

    def _message_of(self, letter: DeadLetter, target: str) -> dict[str, Any]:
        """Return the arguments of ``Producer.produce()``."""
        message: dict[str, Any] = {"topic": target, "key": letter.key, "value": letter.value}
        message["headers"] = list(letter.replay_headers)
        if target == letter.original_topic:
            if target not in self._partitions:
                producer = self._producer
                numbers = self._reader.retry(lambda: partitions_of(producer, target))
                self._partitions[target] = numbers
            if letter.original_partition in self._partitions[target]:
                message["partition"] = letter.original_partition
        return message

    def _settle(self, deadline: float) -> None:
        """Wait for every acknowledgement, and commit what has one.

        Raises:
            ProducerError: The broker has not acknowledged one of them; the first such error.
        """
        failure: ProducerError | None = None
        for letter, delivery in self._pending:
            progress = self._progress[letter.partition]
            try:
                self._await(letter, delivery, deadline)
            except ProducerError as error:
                progress.left(letter.offset)
                failure = failure or _with_place(error, letter)
            else:
                progress.done(letter.offset)
                self._count += 1
        self._commit({letter.partition for letter, _ in self._pending})
        self._pending.clear()
        if failure is not None:
            raise failure

    def _await(self, letter: DeadLetter, delivery: Delivery, deadline: float) -> None:
        try:
            delivery.wait(self._producer, deadline)
        except ProducerError as error:
            if not too_large(error):
                raise
            # The broker refuses a batch of small records for its size; alone each may pass.
            self._send(letter, deadline).wait(self._producer, deadline)

    def _commit(self, numbers: set[int]) -> None:
        places = []
        for number in numbers:
            offset, note = self._progress[number].offset, self._progress[number].note
            places.append(TopicPartition(self._reader.topic, number, offset, metadata=note))
            if len(note) > LONGEST_NOTE:
                self._note_is_full = True
        self._reader.commit(places)


def _with_place(error: E, letter: DeadLetter) -> E:
    """Return the error with the dead letter's place in its text, and what can be done."""
    place = f"topic {letter.topic}, partition {letter.partition}, offset {letter.offset}"
    way_out = "where= can leave it, to= put it elsewhere"
    return type(error)(f"dead letter at {place}: {error} ({way_out})")
