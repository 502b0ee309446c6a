"""Join the group, give partitions up in good order, leave when a handler is too slow."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    OFFSET_STORED,
    KafkaException,
    TopicPartition,
)

from flowodm.consumer.engine.actions import Awaited
from flowodm.consumer.kafka.start_offsets import ASK_TIMEOUT, StartOffsets
from flowodm.events import Rebalanced, RebalanceKind
from flowodm.exceptions import ConsumerError
from flowodm.settings import uses_consumer_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Consumer

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.kafka.committer import Committer
    from flowodm.consumer.kafka.owner import Owner
    from flowodm.consumer.kafka.source import Source
    from flowodm.consumer.stop import StopSwitch
    from flowodm.events import TP

COMMIT_TIMEOUT = 10.0
"""Seconds for the commit before the member leaves."""


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
        owner: The poller.
    """

    def __init__(
        self,
        consumer: Consumer,
        source: Source,
        dispatch: Dispatch,
        switch: StopSwitch,
        committer: Committer,
        owner: Owner,
    ) -> None:
        self._consumer = consumer
        self._source = source
        self._dispatch = dispatch
        self._switch = switch
        self._committer = committer
        self._owner = owner
        self._starts = StartOffsets(consumer, source, committer, dispatch, switch)
        self._away = False

    def join(self) -> None:
        """Subscribe, or take the pinned partitions at once."""
        self._away = False
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
            self._consumer.list_topics(topic, timeout=self._switch.capped(ASK_TIMEOUT))
        chosen = [TopicPartition(topic, number, OFFSET_STORED) for number in pinned]
        self._consumer.assign(self._take(chosen))

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

    def leave(self) -> None:
        """Leave the group while a handler takes too long, so that others take over.

        What the late handler returns is not committed. :meth:`join` comes back.
        """
        self._committer.await_answer(self._owner.serve, time.monotonic() + COMMIT_TIMEOUT)
        with self._dispatch as engine:
            offsets = engine.to_commit()
        self._committer.commit_now(offsets, COMMIT_TIMEOUT, self._owner.serve)
        with self._dispatch as engine:
            left = tuple(engine.snapshot(time.monotonic()).partitions)
            engine.forget()
            self._dispatch.joined = False
        self._away = True
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
        """Tell the engine of new partitions; return them with the offsets to start from."""
        # librdkafka keeps a pause across assignments, whoever had the partition in between.
        self._consumer.resume(partitions)
        try:
            committed, new = self._starts.committed(partitions)
        except ConsumerError as error:
            self._owner.fail(error)  # and what comes from these partitions is dropped
            return partitions
        firsts = self._starts.firsts(new)
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

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        tps = _tps(partitions)
        self._committer.settle_window(tps, self._switch.capped(COMMIT_TIMEOUT))
        with self._dispatch as engine:
            engine.stop(tps)
        patience = self._switch.capped(self._source.revoke_patience)
        self._dispatch.wait_for(Awaited.QUIET, patience, tps)
        with self._dispatch as engine:
            offsets = engine.to_commit(tps)
        self._committer.commit_in_callback(offsets, self._switch.capped(COMMIT_TIMEOUT))
        with self._dispatch as engine:
            engine.forget(tps)
        self._report(RebalanceKind.REVOKED, tps)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Forget partitions that another member may own already."""
        tps = _tps(partitions)
        with self._dispatch as engine:
            engine.forget(tps)
            self._dispatch.joined = False
        self._report(RebalanceKind.LOST, tps)

    def _report(self, kind: RebalanceKind, tps: list[TP]) -> None:
        self._committer.membership_changed()
        self._dispatch.tell(Rebalanced(kind, tuple(tps)))
        self._dispatch.tell(self._dispatch.status())


def _member_epoch(metadata: bytes) -> int:
    """Read the epoch from librdkafka's group metadata; 0 if its form is another one."""
    form = b"CGMDv2:"
    if not metadata.startswith(form):
        return 0
    return int.from_bytes(metadata[len(form) : len(form) + 4], "little", signed=True)


def _tps(partitions: list[TopicPartition]) -> list[TP]:
    return [(p.topic, p.partition) for p in partitions]


def is_incremental(config: Mapping[str, Any]) -> bool:
    """Return whether assignments come as differences: cooperative assignors (KIP-429), KIP-848."""
    assignor = str(config.get("partition.assignment.strategy", ""))
    return uses_consumer_protocol(config) or "cooperative" in assignor
