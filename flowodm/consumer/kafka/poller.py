"""Own a loop's Kafka consumer in one thread: join, fetch, commit, leave.

Everything here is thin: what to do is the engine's decision. The one call into librdkafka that
may block without a bound (close) runs in :func:`flowodm.blocking.bounded`; commits are all
asynchronous.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any, assert_never

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from flowodm.blocking import bounded
from flowodm.connection import get_kafka_connection
from flowodm.consumer.engine.actions import (
    NOTHING_ARRIVED,
    CommitSettled,
    CommitWindow,
    Fetch,
    LeaveGroup,
    PausePartitions,
    RejoinGroup,
    ResumePartitions,
    Sample,
    WaitForRoom,
)
from flowodm.consumer.engine.fetch_plan import SLICE
from flowodm.consumer.kafka.committer import CALL_TIMEOUT, Committer
from flowodm.consumer.kafka.ending import Ending
from flowodm.consumer.kafka.fetcher import END_OF_PARTITION, Fetcher
from flowodm.consumer.kafka.membership import Membership
from flowodm.consumer.kafka.stalls import StallDetector
from flowodm.events import EndReason, Trouble
from flowodm.exceptions import ConfigurationError, ConsumerError, FencedError, summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.actions import Action, Arrivals
    from flowodm.consumer.kafka.source import Source
    from flowodm.consumer.stop import StopSwitch

CLIENTS_TURN = 0.5
"""Seconds between two looks of librdkafka's main thread at its group (``rkcg_serve_timer``)."""
_FENCED = {KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID}


class Poller:
    """Runs a consumer in a thread of its own from :meth:`start` until the switch is pressed.

    Args:
        source: What to consume.
        dispatch: Where records go and results come from.
        switch: Ends it.
        prepare: Called in the thread before the group is joined; may block, and may raise what
            then ends the loop.
    """

    def __init__(
        self,
        source: Source,
        dispatch: Dispatch,
        switch: StopSwitch,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._prepare = prepare
        self.before_join: Callable[[], None] | None = None
        self._dispatch = dispatch
        self._switch = switch
        self._slice = min(source.poll_timeout, SLICE)
        self._next_look = 0.0
        self._arrived = NOTHING_ARRIVED
        self._wake_interval = _wake_interval(source.config)
        self._asked = False
        self._released = threading.Event()
        self._consumer: Consumer
        self._fetcher: Fetcher
        self._ending: Ending
        self._stalls: StallDetector
        self._membership: Membership
        self._committer = Committer(dispatch, self._check_fatal, self.fail)
        self.drained = threading.Event()
        self.drain_seconds = 0.0
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="flowodm-poller", daemon=True)

    def start(self) -> None:
        """Start the thread; ``error`` holds what went wrong once ``drained`` is set."""
        self._thread.start()

    def ask_group(self) -> None:
        """Ask the group soon for what has changed; from any thread."""
        self._asked = True

    def release(self) -> None:
        """Let the consumer be closed: the shutdown hook has run."""
        self._released.set()

    def join(self) -> bool:
        """Wait for the thread's end, bounded; return whether it came."""
        if self._thread.ident is None:
            return True
        left = max(self._switch.deadline - time.monotonic(), 0.0) if self._switch.pressed else 0.0
        self._thread.join(left + 3 * CALL_TIMEOUT)
        return not self._thread.is_alive()

    # ---- the thread ----------------------------------------------------------------------

    def _main(self) -> None:
        opened = False
        try:
            self._open()
            opened = True  # from here on there is a consumer to be closed
            self._join()
            while not self._switch.pressed:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - handed to run(), which raises it
            self._end_with(error)
        try:
            if opened:
                self._ending.drain()
        except BaseException as error:  # noqa: BLE001 - as above
            self._end_with(error)
        self._dispatch.close()
        self.drain_seconds = self._switch.pressed_for
        self.drained.set()
        if opened:
            self._ending.linger(self._released)
            self._close()

    def _end_with(self, error: BaseException) -> None:
        self.fail(error)
        self._switch.press(reason=EndReason.ERROR)

    def _open(self) -> None:
        if self._prepare is not None:
            self._prepare()
        callbacks = {
            "on_commit": self._committer.answered,
            "error_cb": self._on_error,
            "enable.partition.eof": True,  # the lag needs it
        }
        try:
            make = get_kafka_connection().consumer_class(Consumer)
            self._consumer = make({**self._source.config, **callbacks})
        except (KafkaException, ValueError, TypeError) as error:
            text = f"the consumer's configuration is refused: {summary(error)}"
            raise ConfigurationError(text) from error
        self._committer.use(self._consumer)
        self._stalls = StallDetector(self._consumer)
        self._fetcher = Fetcher(
            self._consumer, self._dispatch, self._source.fetch_size, self._slice, self._on_error
        )
        self._ending = Ending(self._dispatch, self._switch, self._committer, self)
        self._membership = Membership(
            self._consumer,
            self._source,
            self._dispatch,
            self._switch,
            self._committer,
            self,
        )

    def _join(self) -> None:
        self._membership.look_at_id()
        if self.before_join is not None:
            self.before_join()  # the client looks for its coordinator meanwhile
        self._membership.join()

    def _turn(self) -> None:
        """Hand over what arrived, do what the engine says, and fetch."""
        now = time.monotonic()
        self._notice_signals()
        self._committer.give_up_overdue(now)
        with self._dispatch as engine:
            turn = engine.turn(
                self._arrived,
                now,
                paused=self._switch.paused,
                log_end=self._fetcher.log_end,
            )
        for action in turn.actions:
            self._do(action)
        self._arrived = self._fetch(turn.fetch)
        self._look_after_membership(now)
        if self.error is not None:
            raise self.error

    def _notice_signals(self) -> None:
        """Let the main thread run the handler of a signal that did not interrupt its wait."""
        if self._switch.signal_arrived():
            self._dispatch.nudge()

    def _do(self, action: Action) -> None:
        match action:
            case CommitSettled(offsets):
                self._committer.commit(offsets)
            case CommitWindow(window):
                self._committer.commit_window(window)
            case PausePartitions(tps):
                self._consumer.pause([TopicPartition(*tp) for tp in tps])
            case ResumePartitions(tps):
                self._consumer.resume([TopicPartition(*tp) for tp in tps])
            case Sample():
                self._take_sample(action)
            case LeaveGroup():
                self._membership.leave()
            case RejoinGroup():
                self._membership.join()
            case _:
                assert_never(action)

    def _fetch(self, plan: Fetch | WaitForRoom) -> Arrivals:
        if isinstance(plan, Fetch):
            return self._fetcher.fetch(plan)
        return self._fetcher.wait_for_room(plan)

    # ---- membership, health ------------------------------------------------------------------

    def _look_after_membership(self, now: float) -> None:
        self._membership.check_joined()
        if self._asked:
            self._asked = False
            self._membership.ask()
        if not self._dispatch.joined or now >= self._next_look:
            self._membership.look_at_id()
            self._next_look = now + self._wake_interval

    def _take_sample(self, sample: Sample) -> None:
        self._dispatch.record_stalled(self._stalls.look(sample.idle, time.monotonic()))
        for tp, position in sample.positions.items():
            if position is None:
                continue
            end = self._fetcher.log_end(tp)
            if end is not None:
                self._dispatch.lags[tp] = max(end - position, 0)
        self._dispatch.tell(self._dispatch.status())

    def _on_error(self, error: KafkaError) -> None:
        """End the loop if the client cannot mend the error itself, and tell the observers."""
        self._check_fatal(error)
        if error.code() != END_OF_PARTITION:
            self._dispatch.tell(Trouble(error.name(), error.str()))

    def fail(self, error: BaseException) -> None:
        """End the loop with this error, unless there was one before."""
        self.error = self.error or error

    def _check_fatal(self, error: KafkaError) -> None:
        # KIP-848's "instance ID is still used" arrives as _FATAL with fatal() False.
        fatal = error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - as above
        if error.code() in _FENCED or (fatal and "instance" in error.str().lower()):
            self.fail(FencedError(error.str()))
        elif fatal:
            self.fail(ConsumerError(f"fatal error of the client: {error.str()}"))

    # ---- the end -----------------------------------------------------------------------------

    def serve(self, timeout: float) -> None:
        """Poll for callbacks; drop a record that comes along."""
        self._notice_signals()
        message = self._consumer.poll(timeout)
        if message is not None and (error := message.error()) is not None:
            self._on_error(error)

    def _close(self) -> None:
        try:
            bounded(self._consumer.close, self._ending.call_timeout)
        except (KafkaException, TimeoutError, RuntimeError) as error:
            self._dispatch.tell(Trouble("close", str(error)))
        self._committer.close()


def _wake_interval(config: dict[str, Any]) -> float:
    """Return after how many seconds to wake the client's main thread for its heartbeats.

    It looks only twice a second whether one is due, and whenever somebody asks it something.
    """
    interval = int(config.get("heartbeat.interval.ms", 3000)) / 1000
    return interval if interval < CLIENTS_TURN else math.inf
