"""Find where assigned partitions begin: at their committed offset, or anew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, TopicPartition

from flowodm.consumer.engine.offsets import Position
from flowodm.consumer.engine.start import Edge, Extent, Moment, position
from flowodm.consumer.kafka.committer import positions
from flowodm.events import Trouble
from flowodm.exceptions import ConsumerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Consumer, KafkaError

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.start import Start
    from flowodm.consumer.kafka.committer import Committer
    from flowodm.consumer.kafka.source import Source
    from flowodm.consumer.stop import StopSwitch
    from flowodm.events import TP

COMMITTED_TIMEOUT = 5.0
"""Seconds for the look at what the group has committed for a partition that was assigned."""
START_TIMEOUT = 15.0
"""Seconds to find and commit the start position of partitions that were assigned."""
ASK_TIMEOUT = 2.0
"""Seconds for the answer to one question, after which a stop is seen."""
ASK_AGAIN = 0.1
"""Seconds between two questions."""


class StartOffsets:
    """Finds the offsets at which assigned partitions begin.

    Args:
        consumer: The consumer.
        source: Its configuration, and where to begin with what has no committed offset.
        committer: Commits where a partition was begun.
        dispatch: Told of trouble.
        switch: Its deadline bounds the questions during a drain.
    """

    def __init__(
        self,
        consumer: Consumer,
        source: Source,
        committer: Committer,
        dispatch: Dispatch,
        switch: StopSwitch,
    ) -> None:
        self._consumer = consumer
        self._source = source
        self._committer = committer
        self._dispatch = dispatch
        self._switch = switch

    def committed(
        self, partitions: list[TopicPartition]
    ) -> tuple[dict[TP, Position], list[TopicPartition]]:
        """Return what the group has committed, with the previous owners' notes, and what not.

        Without an answer in time the records that a note lists are handled again, as they are
        after a crash; where the start position matters the loop cannot go on.

        Raises:
            ConsumerError: There is a start position, and it cannot be found or committed in time.
        """
        if not partitions:
            return {}, []
        if self._source.start is not None:
            committed = self._begun(partitions, self._source.start)
            return committed, _without(partitions, committed)
        try:
            answers = self._consumer.committed(partitions, timeout=COMMITTED_TIMEOUT)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            self._dispatch.tell(Trouble(reason.name(), f"committed offsets: {reason.str()}"))
            return {}, []
        sound = [p for p in answers if p.error is None]
        return positions(p for p in sound if p.offset >= 0), [p for p in sound if p.offset < 0]

    def firsts(self, new: list[TopicPartition]) -> dict[TP, int]:
        """Find offsets for partitions without a committed one: numbers, not "earliest" or "latest".

        librdkafka looks "earliest" and "latest" up itself, but a rebalance meanwhile leaves a
        timer of that look-up behind, which half a second later sets the partition back to where
        it began, or forward to its end: records would be repeated, or lost (librdkafka 2.16,
        rd_kafka_toppar_offset_request). What "latest" comes to is committed, so that a restart
        before the first commit does not skip what came in between.
        """
        edge = reset_of(self._source.config)
        if not new or edge is None:
            return {}
        deadline = time.monotonic() + self._switch.capped(COMMITTED_TIMEOUT)
        try:
            extents = self._extents(new, edge, deadline)
        except ConsumerError as error:
            self._dispatch.tell(Trouble("start", str(error)))
            return {}
        offsets = {tp: position(edge, tp[1], extent) for tp, extent in extents.items()}
        firsts = {tp: offset for tp, offset in offsets.items() if offset is not None}
        if edge is Edge.LATEST:
            left = max(deadline - time.monotonic(), 0.0)
            begun = {tp: Position(offset) for tp, offset in firsts.items()}
            self._committer.commit_in_callback(begun, left)
        return firsts

    def _begun(self, partitions: list[TopicPartition], start: Start) -> dict[TP, Position]:
        """Commit the start position where nothing is committed; return all committed positions.

        librdkafka starts from what is committed, so nothing else has to be told to it; and a
        loop that crashes before its own first commit starts from the same record again.
        """
        deadline = time.monotonic() + self._switch.capped(START_TIMEOUT)
        answers = self._ask(lambda left: self._consumer.committed(partitions, left), deadline)
        committed = positions(p for p in answers if p.offset >= 0)
        new = _without(partitions, committed)
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
        """Ask where partitions begin and end, and which offset a moment leads to."""
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
        at_moment = {} if moment is None else at(moment)
        return {
            tp: Extent(first, ends[tp], offset if (offset := at_moment.get(tp, -1)) >= 0 else None)
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


def _without(
    partitions: list[TopicPartition], committed: Mapping[TP, Position]
) -> list[TopicPartition]:
    """Return the partitions for which nothing is committed."""
    return [p for p in partitions if (p.topic, p.partition) not in committed]


def _told(offsets: dict[TP, Position]) -> str:
    return ", ".join(f"{topic}[{n}]@{p.offset}" for (topic, n), p in list(offsets.items())[:5])


def reset_of(config: Mapping[str, Any]) -> Edge | None:
    """Return what ``auto.offset.reset`` says, by any of librdkafka's names; None for "error"."""
    named = str(config.get("auto.offset.reset", "largest")).lower()
    if named in {"smallest", "earliest", "beginning"}:
        return Edge.EARLIEST
    return Edge.LATEST if named in {"largest", "latest", "end"} else None
