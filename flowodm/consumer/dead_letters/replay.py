"""What is in a dead-letter topic, and putting it back where it failed.

Nothing here joins a group. A replay commits in the name of a group without members, so that the
next one goes on where it ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import TopicPartition

from flowodm.connection import get_kafka_connection
from flowodm.consumer.dead_letters.headers import DeadLetter
from flowodm.consumer.dead_letters.reader import Extent, TopicReader
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
        left: Dead letters that were looked at and stay for another replay: ``where`` did not
            want them, or they do not say where they came from.
        complete: Whether it came to the end; False if ``limit`` or the note (see there) ended it.
    """

    count: int
    left: int
    complete: bool


def list_dead_letters(topic: str, *, limit: int | None = None) -> Iterator[DeadLetter]:
    """Look at what is in a dead-letter topic now; nothing is committed.

    In the order of offsets within each partition. Closing the iterator, or its end, closes the
    connection behind it.

    Args:
        topic: The dead-letter topic.
        limit: The most dead letters; None for all.

    Raises:
        TopicError: The topic does not exist, or may not be read.
        ConsumerError: Kafka does not answer; also while iterating.
        ConfigurationError: There is no address of a Kafka.
    """
    # Two connections: the ends are those of now, and an iterator that nobody starts holds none.
    with TopicReader(topic, _replay_group(topic)) as reader:
        extents = reader.extents()
    return _listed(topic, extents, limit)


def _listed(topic: str, extents: dict[int, Extent], limit: int | None) -> Iterator[DeadLetter]:
    left = limit
    with TopicReader(topic, _replay_group(topic)) as reader:
        for batch in reader.read(extents):
            for record in batch:
                if left == 0:
                    return
                left = None if left is None else left - 1
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

    A dead letter gets its own key, value and headers back, without those of the failure and with
    one that counts its replays (``flowodm_replays``), a new timestamp, and its original partition
    as long as there is one. It stays in the dead-letter topic. Every consumer group of the
    original topic gets it.

    It is acknowledged before its offset is committed: a crash in between repeats some, and loses
    none. Two replays with the same group at the same time repeat, too. Kafka forgets what a group
    without members has committed after ``offsets.retention.minutes`` (a week by default); what
    is still in the dead-letter topic then is replayed again.

    Args:
        topic: The dead-letter topic.
        to: Another topic to put them all; None for the topic that each one names.
        limit: The most dead letters to put back; None for all up to the end as of now.
        group_id: In whose name it is noted what was replayed; ``<topic>-replay`` by default.
        where: Called with each dead letter; where false it stays for another replay. Which ones
            were put back behind the first that stays goes into a note that Kafka limits to 4 kB,
            compressed: enough for 20,000 that stay and go in no order, for millions where they
            stand together. What is beyond it stays until those before it were put back.

    Raises:
        ConfigurationError: ``to`` is the dead-letter topic, or there is no address of a Kafka.
        TopicError: The dead-letter topic does not exist, or an original one does not.
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
        """Batch after batch: hand over, wait for the acknowledgements, commit."""
        extents = self._reader.extents()
        committed = self._reader.committed(sorted(extents))
        for number, extent in extents.items():
            offset, note = committed.get(number, (extent.first, ""))
            if offset > extent.end:  # the topic was made anew
                offset, note = extent.first, ""
            self._progress[number] = ReplayProgress(offset, note)
            extents[number] = Extent(max(offset, extent.first), extent.end)
        complete = all(map(self._replay, self._reader.read(extents)))
        return Replayed(self._count, self._left, complete)

    def _replay(self, batch: list[Message]) -> bool:
        """Whether it may go on behind this batch."""
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
        progress = self._progress[letter.partition]
        target = self._to or letter.original_topic
        if progress.is_done(letter.offset):
            progress.done(letter.offset)
        elif not target or target == letter.topic or not self._wants(letter):
            progress.left(letter.offset)
            self._left += 1
        else:
            try:
                self._pending.append((letter, self._hand_over(letter, deadline)))
            except (ProducerError, TopicError) as error:
                raise _placed(error, letter) from error

    def _hand_over(self, letter: DeadLetter, deadline: float) -> Delivery:
        target = self._to or str(letter.original_topic)
        delivery = Delivery(target)
        enqueue(self._producer, delivery, self._addressed(letter, target), deadline)
        return delivery

    def _addressed(self, letter: DeadLetter, target: str) -> dict[str, Any]:
        message: dict[str, Any] = {"topic": target, "key": letter.key, "value": letter.value}
        message["headers"] = list(letter.replay_headers)
        if target == letter.original_topic:
            if target not in self._partitions:
                producer = self._producer
                self._partitions[target] = self._reader.ask(lambda: partitions_of(producer, target))
            if letter.original_partition in self._partitions[target]:
                message["partition"] = letter.original_partition
        return message

    def _settle(self, deadline: float) -> None:
        """Wait for every acknowledgement, commit what has one, and raise what has none."""
        failure: ProducerError | None = None
        for letter, delivery in self._pending:
            progress = self._progress[letter.partition]
            try:
                self._await(letter, delivery, deadline)
            except ProducerError as error:
                progress.left(letter.offset)
                failure = failure or _placed(error, letter)
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
            # A batch of small records is refused as a whole for its size; alone each may pass.
            self._hand_over(letter, deadline).wait(self._producer, deadline)

    def _commit(self, numbers: set[int]) -> None:
        places = []
        for number in numbers:
            offset, note = self._progress[number].offset, self._progress[number].note
            places.append(TopicPartition(self._reader.topic, number, offset, note))
            self._note_is_full = self._note_is_full or len(note) > LONGEST_NOTE
        self._reader.commit(places)


def _placed(error: E, letter: DeadLetter) -> E:
    place = f"topic {letter.topic}, partition {letter.partition}, offset {letter.offset}"
    way_out = "where= can leave it, to= put it elsewhere"
    return type(error)(f"dead letter at {place}: {error} ({way_out})")
