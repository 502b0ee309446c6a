"""Membership of the group: joining, giving partitions up in good order, leaving when it must."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_STORED,
    KafkaException,
    TopicPartition,
)

from flowodm.consumer.engine.offsets import Position
from flowodm.consumer.engine.start import Edge, Extent, Moment, position
from flowodm.consumer.kafka.committer import positions
from flowodm.events import Rebalanced, RebalanceKind, Trouble
from flowodm.exceptions import ConsumerError
from flowodm.settings import uses_consumer_protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Consumer, KafkaError

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.start import Start
    from flowodm.consumer.kafka.committer import Committer
    from flowodm.consumer.kafka.source import Source
    from flowodm.consumer.stop import StopSwitch
    from flowodm.events import TP

#: Seconds for the commit before the member leaves.
COMMIT_TIMEOUT = 10.0
#: Seconds for the look at what the group has committed for a partition that was assigned.
COMMITTED_TIMEOUT = 5.0
#: Seconds to find and commit the start position of partitions that were assigned; for the answer
#: to one question, after which a stop is seen; and between two questions.
START_TIMEOUT, ASK_TIMEOUT, ASK_AGAIN = 15.0, 2.0, 0.1


class Membership:
    """A consumer's part in its group, or its pinned partitions where there is no group.

    The callbacks run inside poll(), on the poller's thread, and must not raise: librdkafka
    would lose the records of that poll.

    Args:
        consumer: The consumer.
        source: The topic and, if they are pinned, the partitions.
        dispatch: The engine.
        switch: Its deadline also bounds a revocation during a drain.
        committer: Commits what is settled of partitions that go.
        serve: Polls for so many seconds; records that come are dropped.
        fail: Called with the error that ends the loop.
    """

    def __init__(
        self,
        consumer: Consumer,
        source: Source,
        dispatch: Dispatch,
        switch: StopSwitch,
        committer: Committer,
        serve: Callable[[float], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._consumer = consumer
        self._source = source
        self._dispatch = dispatch
        self._switch = switch
        self._committer = committer
        self._serve = serve
        self._fail = fail
        self._away = False
        self._left_at = 0.0

    def join(self) -> None:
        """Subscribe, or take the pinned partitions at once."""
        topic, pinned = self._source.topic, self._source.partitions
        if pinned is None:
            self._consumer.subscribe(
                [topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            return
        # A client that is asked for committed offsets before it knows the topic finds the
        # partitions' leaders only with its next scan, once a second (librdkafka 2.16).
        with contextlib.suppress(KafkaException):
            self._consumer.list_topics(topic, timeout=self._patience(ASK_TIMEOUT))
        chosen = [TopicPartition(topic, number, OFFSET_STORED) for number in pinned]
        self._consumer.assign(self._take(chosen))

    def check_handlers(self) -> None:
        """Leave when a handler has run past the poll interval; come back when it has ended.

        Polling goes on in the background, so Kafka would never notice a handler that hangs, or
        an event loop that does: its partitions would stand still for ever. So the member leaves
        by itself, others take over, and what the late handler returns is not committed.
        """
        with self._dispatch as engine:
            now = time.monotonic()
            behind = max(engine.longest_handler(now), engine.unattended(now))
            late = behind > engine.rules.max_poll_interval
            ended = not engine.in_flight and engine.looked_after_at > self._left_at
        if self._away:
            if ended:
                self._away = False
                self.join()
        elif late:
            self._leave()

    def check_joined(self) -> None:
        """Learn of an empty assignment under KIP-848, which librdkafka calls nobody for."""
        if self._dispatch.joined or self._away or not uses_consumer_protocol(self._source.config):
            return
        if _member_epoch(self._consumer.consumer_group_metadata()) > 0:
            self._dispatch.joined = True

    def ask(self) -> None:
        """Ask the group at once for what has changed, not with the next heartbeat.

        Under KIP-848 that may take 5 s, the broker's interval; the same subscription again has
        librdkafka send one now. In a classic group it would do nothing.
        """
        pinned = self._source.partitions is not None
        if not (pinned or self._away) and uses_consumer_protocol(self._source.config):
            self.join()

    def look_at_id(self) -> None:
        """Tell the member's id as soon as there is one: who reaps a dead member needs it."""
        if self._source.partitions is not None:
            return
        member_id = self._consumer.memberid() or None
        if member_id is not None and member_id != self._dispatch.member_id:
            self._dispatch.member_id = member_id
            self._dispatch.tell(self._dispatch.status())

    def _leave(self) -> None:
        self._committer.await_answer(self._serve, time.monotonic() + COMMIT_TIMEOUT)
        with self._dispatch as engine:
            offsets = engine.to_commit()
        self._committer.commit_now(offsets, COMMIT_TIMEOUT, self._serve)
        with self._dispatch as engine:
            left = tuple(engine.partitions)
            engine.forget(left)
            self._dispatch.joined = False
        self._away, self._left_at = True, time.monotonic()
        self._consumer.unsubscribe()
        self._dispatch.tell(Rebalanced(RebalanceKind.LEFT, left))

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        placed = self._take(partitions)
        if placed is partitions:
            return  # librdkafka assigns by itself what a callback does not
        if is_incremental(self._source.config):
            self._consumer.incremental_assign(placed)
        else:
            self._consumer.assign(placed)

    def _take(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Partitions are ours: tell the engine; returns them with the offsets to start from."""
        # librdkafka keeps a pause across assignments, whoever had the partition in between.
        self._consumer.resume(partitions)
        try:
            committed, new = self._committed(partitions)
        except ConsumerError as error:
            self._fail(error)  # and what comes from these partitions is dropped
            return partitions
        firsts = self._firsts(new)
        self.look_at_id()
        with self._dispatch as engine:
            engine.assigned(_tps(partitions), committed)
            self._dispatch.joined = True
        self._report(RebalanceKind.ASSIGNED, _tps(partitions))
        if not firsts:
            return partitions
        return [
            TopicPartition(p.topic, p.partition, firsts.get((p.topic, p.partition), p.offset))
            for p in partitions
        ]

    def _committed(
        self, partitions: list[TopicPartition]
    ) -> tuple[dict[TP, Position], list[TopicPartition]]:
        """What the group has committed, with the notes of the previous owners; what it has not.

        Without an answer in time the records that a note lists are handled again, as they are
        after a crash; where the start position matters the loop cannot go on.

        Raises:
            ConsumerError: There is a start position, and it cannot be found or committed in time.
        """
        if not partitions:
            return {}, []
        if self._source.start is not None:
            committed = self._begun(partitions, self._source.start)
            return committed, [p for p in partitions if (p.topic, p.partition) not in committed]
        try:
            answers = self._consumer.committed(partitions, timeout=COMMITTED_TIMEOUT)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            self._dispatch.tell(Trouble(reason.name(), f"committed offsets: {reason.str()}"))
            return {}, []
        sound = [p for p in answers if p.error is None]
        return positions(p for p in sound if p.offset >= 0), [p for p in sound if p.offset < 0]

    def _firsts(self, new: list[TopicPartition]) -> dict[TP, int]:
        """Where to start with partitions for which nothing is committed: an offset, not a name.

        librdkafka looks "earliest" and "latest" up itself, but a rebalance meanwhile leaves a
        timer of that look-up behind, which half a second later sets the partition back to where
        it began, or forward to its end: records would be repeated, or lost (librdkafka 2.16,
        rd_kafka_toppar_offset_request). What "latest" comes to is committed, so that a restart
        before the first commit does not skip what came in between.
        """
        edge = reset_of(self._source.config)
        if not new or edge is None:
            return {}
        deadline = time.monotonic() + self._patience(COMMITTED_TIMEOUT)
        try:
            extents = self._extents(new, edge, deadline)
        except ConsumerError as error:
            self._dispatch.tell(Trouble("start", str(error)))
            return {}
        found = {tp: position(edge, tp[1], extent) for tp, extent in extents.items()}
        firsts = {tp: offset for tp, offset in found.items() if offset is not None}
        if edge is Edge.LATEST:
            left = max(deadline - time.monotonic(), 0.0)
            begun = {tp: Position(offset) for tp, offset in firsts.items()}
            self._committer.commit_in_callback(begun, left)
        return firsts

    def _begun(self, partitions: list[TopicPartition], start: Start) -> dict[TP, Position]:
        """The same, after a start position was committed where there was nothing.

        librdkafka starts from what is committed, so nothing else has to be told to it; and a
        loop that crashes before its own first commit starts from the same record again.
        """
        deadline = time.monotonic() + self._patience(START_TIMEOUT)
        answers = self._ask(lambda left: self._consumer.committed(partitions, left), deadline)
        committed = positions(p for p in answers if p.offset >= 0)
        new = [p for p in partitions if (p.topic, p.partition) not in committed]
        extents = self._extents(new, start, deadline)
        begun = {
            tp: Position(offset)
            for tp, extent in extents.items()
            if (offset := position(start, tp[1], extent)) is not None
        }
        left = max(deadline - time.monotonic(), 0.0)
        if begun and not self._committer.commit_in_callback(begun, left):
            raise ConsumerError(
                f"the start position {_told(begun)} could not be committed in {START_TIMEOUT:.0f} s"
            )
        return committed | begun

    def _extents(
        self, new: list[TopicPartition], start: Start, deadline: float
    ) -> dict[TP, Extent]:
        """Where partitions begin and end, and which offset a moment leads to."""
        moment = start.milliseconds if isinstance(start, Moment) else None

        def at(time_or_end: int) -> dict[TP, int]:
            asked = [TopicPartition(p.topic, p.partition, time_or_end) for p in new]
            answers = self._ask(
                lambda left: self._consumer.offsets_for_times(asked, timeout=left), deadline
            )
            return {(p.topic, p.partition): p.offset for p in answers}

        if not new:
            return {}
        # ListOffsets takes the two ends in place of a time.
        firsts, ends = at(OFFSET_BEGINNING), at(OFFSET_END)
        found = {} if moment is None else at(moment)
        return {
            tp: Extent(first, ends[tp], offset if (offset := found.get(tp, -1)) >= 0 else None)
            for tp, first in firsts.items()
        }

    def _ask(
        self, call: Callable[[float], list[TopicPartition]], deadline: float
    ) -> list[TopicPartition]:
        """Ask the brokers until they answer for every partition, or the time is over."""
        while True:
            try:
                answers = call(max(min(deadline - time.monotonic(), ASK_TIMEOUT), ASK_AGAIN))
                problem = next((p.error for p in answers if p.error is not None), None)
            except KafkaException as error:
                answers, problem = [], error.args[0]
            if problem is None:
                return answers
            if time.monotonic() >= min(deadline, self._switch.deadline):
                raise ConsumerError(f"the start position could not be found: {problem.str()}")
            time.sleep(ASK_AGAIN)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        tps = _tps(partitions)
        self._committer.settle_window(tps, self._patience(COMMIT_TIMEOUT))
        with self._dispatch as engine:
            engine.revoking(tps)
            patience = min(engine.rules.revoke_timeout, engine.rules.max_poll_interval / 2)
        self._dispatch.wait_for(lambda e: e.quiet(tps), self._patience(patience))
        with self._dispatch as engine:
            offsets = engine.to_commit(tps)
        self._committer.commit_in_callback(offsets, self._patience(COMMIT_TIMEOUT))
        with self._dispatch as engine:
            engine.forget(tps)
        self._report(RebalanceKind.REVOKED, tps)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The group has gone on without us: the partitions may have another owner already."""
        tps = _tps(partitions)
        with self._dispatch as engine:
            engine.forget(tps)
            self._dispatch.joined = False
        self._report(RebalanceKind.LOST, tps)

    def _patience(self, most: float) -> float:
        """So many seconds, but during a drain no more than it has left."""
        return max(min(most, self._switch.deadline - time.monotonic()), 0.0)

    def _report(self, kind: RebalanceKind, tps: list[TP]) -> None:
        self._committer.membership_changed()
        self._dispatch.tell(Rebalanced(kind, tuple(tps)))
        self._dispatch.tell(self._dispatch.status())


def _member_epoch(metadata: bytes) -> int:
    """The epoch in librdkafka's form of the group's metadata; 0 if that form is another one."""
    form = b"CGMDv2:"
    if not metadata.startswith(form):
        return 0
    return int.from_bytes(metadata[len(form) : len(form) + 4], "little", signed=True)


def _told(offsets: dict[TP, Position]) -> str:
    return ", ".join(f"{topic}[{n}]@{p.offset}" for (topic, n), p in list(offsets.items())[:5])


def _tps(partitions: list[TopicPartition]) -> list[TP]:
    return [(p.topic, p.partition) for p in partitions]


def is_incremental(config: Mapping[str, Any]) -> bool:
    """Whether assignments come as differences: cooperative assignors (KIP-429) and KIP-848."""
    assignor = str(config.get("partition.assignment.strategy", ""))
    return uses_consumer_protocol(config) or "cooperative" in assignor


def reset_of(config: Mapping[str, Any]) -> Edge | None:
    """What ``auto.offset.reset`` says, by any of librdkafka's names; None for "error"."""
    named = str(config.get("auto.offset.reset", "largest")).lower()
    if named in {"smallest", "earliest", "beginning"}:
        return Edge.EARLIEST
    return Edge.LATEST if named in {"largest", "latest", "end"} else None
