"""The one thread that owns a loop's Kafka consumer: it joins, fetches, commits and leaves.

Everything here is thin: what to do is the engine's decision. The one call into librdkafka that
may block without a bound (close) runs in :func:`flowodm.blocking.bounded`; commits are all
asynchronous.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from flowodm.blocking import bounded
from flowodm.connection import get_kafka_connection
from flowodm.consumer.kafka.committer import CALL_TIMEOUT, TICK, Committer
from flowodm.consumer.kafka.fetcher import END_OF_PARTITION, Fetcher
from flowodm.consumer.kafka.membership import Membership
from flowodm.consumer.kafka.stalls import Standing
from flowodm.events import Abandoned, EndReason, LoopState, Trouble
from flowodm.exceptions import ConfigurationError, ConsumerError, FencedError, summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.offsets import Position
    from flowodm.consumer.kafka.source import Source
    from flowodm.consumer.stop import StopSwitch
    from flowodm.events import TP

#: The longest time, in seconds, that the poller is out of reach: how late it sees a stop.
SLICE = 0.1
#: Seconds between two samples of lag and load.
SAMPLE_INTERVAL = 1.0
#: Seconds between two looks of librdkafka's main thread at its group (``rkcg_serve_timer``).
CLIENTS_TURN = 0.5

#: Seconds for the broker's answers where the loop was asked to stop now.
URGENT_TIMEOUT = 2.0

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
        self._next_sample = self._next_look = 0.0
        self._wake_interval = _wake_interval(source.config)
        self._asked = False
        self._released = threading.Event()
        self._consumer: Consumer
        self._fetcher: Fetcher
        self._standing: Standing
        self._membership: Membership
        self._committer = Committer(dispatch, self._check_fatal, self._blame)
        self.drained = threading.Event()
        self.drain_seconds = 0.0
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="flowodm-poller", daemon=True)

    def start(self) -> None:
        """Begin; what goes wrong from here on is in ``error`` once ``drained`` is set."""
        self._thread.start()

    def ask_group(self) -> None:
        """Have the group asked soon for what has changed; from any thread."""
        self._asked = True

    def release(self) -> None:
        """The consumer may be closed: the shutdown hook has run."""
        self._released.set()

    def join(self) -> bool:
        """Wait for the thread's end, bounded; returns whether it came."""
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
            self._fail(error)
        try:
            if opened:
                self._drain()
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(error)
        self._dispatch.close()
        self.drain_seconds = self._switch.pressed_for
        self.drained.set()
        if opened:
            self._linger()
            self._close()

    def _fail(self, error: BaseException) -> None:
        self._blame(error)
        self._switch.press(reason=EndReason.ERROR)

    def _open(self) -> None:
        if self._prepare is not None:
            self._prepare()
        own = {
            "on_commit": self._committer.answered,
            "error_cb": self._on_error,
            "enable.partition.eof": True,  # the lag needs it
        }
        try:
            make = get_kafka_connection().consumer_class(Consumer)
            self._consumer = make({**self._source.config, **own})
        except (KafkaException, ValueError, TypeError) as error:
            text = f"the consumer's configuration is refused: {summary(error)}"
            raise ConfigurationError(text) from error
        self._committer.use(self._consumer)
        self._standing = Standing(self._consumer)
        self._fetcher = Fetcher(
            self._consumer, self._dispatch, self._source.fetch_size, self._slice, self._on_error
        )
        self._membership = Membership(
            self._consumer,
            self._source,
            self._dispatch,
            self._switch,
            self._committer,
            self._serve,
            self._blame,
        )

    def _join(self) -> None:
        self._membership.look_at_id()
        if self.before_join is not None:
            self.before_join()  # the client looks for its coordinator meanwhile
        self._membership.join()

    def _turn(self) -> None:
        """One round: fetch if there is room, commit what is due, look after the members' duties."""
        self._sample_if_due()  # before the fetch: what has just arrived is no lag
        now = time.monotonic()
        self._fetcher.turn(
            now, paused=self._switch.paused, answer_due=self._committer.window_under_way
        )
        self._committer.commit_ahead()
        self._committer.commit_if_due()
        self._apply_pressure()
        self._membership.check_handlers()
        if self._asked:
            self._asked = False
            self._membership.ask()
        if not self._dispatch.joined or now >= self._next_look:
            self._membership.look_at_id()
            self._next_look = now + self._wake_interval
        if self.error is not None:
            raise self.error

    # ---- back-pressure, health ---------------------------------------------------------------

    def _apply_pressure(self) -> None:
        with self._dispatch as engine:
            pause, resume = engine.pressure(time.monotonic())
        if pause:
            self._consumer.pause([TopicPartition(*tp) for tp in pause])
        if resume:
            self._consumer.resume([TopicPartition(*tp) for tp in resume])

    def _sample_if_due(self) -> None:
        self._membership.check_joined()
        now = time.monotonic()
        if now < self._next_sample:
            return
        self._next_sample = now + SAMPLE_INTERVAL
        with self._dispatch as engine:
            known = {tp: p.position for tp, p in engine.partitions.items()}
            idle = engine.idle
        self._dispatch.stand_still(self._standing.look(idle, now))
        for tp, position in known.items():
            if position is None:
                continue
            ends = self._consumer.get_watermark_offsets(TopicPartition(*tp), cached=True)
            if ends[1] >= 0:
                self._dispatch.lags[tp] = max(ends[1] - position, 0)
        self._dispatch.tell(self._dispatch.status())

    def _on_error(self, error: KafkaError) -> None:
        """The client mends most errors itself; what it cannot mend ends the loop."""
        self._check_fatal(error)
        if error.code() != END_OF_PARTITION:
            self._dispatch.tell(Trouble(error.name(), error.str()))

    def _blame(self, error: BaseException) -> None:
        """End the loop with this error, unless there was one before."""
        self.error = self.error or error

    def _check_fatal(self, error: KafkaError) -> None:
        # KIP-848's "instance ID is still used" arrives as _FATAL with fatal() False.
        fatal = error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - as above
        if error.code() in _FENCED or (fatal and "instance" in error.str().lower()):
            self._blame(FencedError(error.str()))
        elif fatal:
            self._blame(ConsumerError(f"fatal error of the client: {error.str()}"))

    # ---- the end -----------------------------------------------------------------------------

    def _drain(self) -> None:
        """Let the handlers finish, bounded, while polling goes on; then commit."""
        self._dispatch.enter_state(LoopState.DRAINING)
        with self._dispatch as engine:
            engine.stop()
        while time.monotonic() < self._switch.deadline:
            under_way = self._committer.window_under_way
            if self._dispatch.wait_for(lambda e: e.quiet(), TICK if under_way else self._slice):
                break
            self._serve(0)
        deadline = max(self._switch.deadline, time.monotonic()) + self._call_timeout
        confirmed = self._committer.await_answer(self._serve, deadline, self._out_of_time)
        with self._dispatch as engine:
            offsets = engine.to_commit()
            unfinished = engine.unfinished
            everything = list(engine.partitions)
        if unfinished:
            self._dispatch.tell(Abandoned(unfinished))
        if offsets and not confirmed:
            raise ConsumerError(
                "the last offsets could not be committed: no answer from the broker"
            )
        self._commit_at_last(offsets, deadline)
        with self._dispatch as engine:
            engine.forget(everything)

    def _commit_at_last(self, offsets: dict[TP, Position], deadline: float) -> None:
        """The final commit is tried again while there is time: a failure repeats records."""
        while True:
            left = deadline - time.monotonic()
            problem = self._committer.commit_now(
                offsets, max(left, 1.0), self._serve, self._out_of_time
            )
            if problem is None:
                return
            self._serve(self._slice)
            with self._dispatch as engine:
                offsets = engine.to_commit()  # a revoke meanwhile may have settled the matter
            if not offsets:
                return
            if time.monotonic() >= deadline or self.error is not None or self._switch.urgent:
                raise ConsumerError(f"the last offsets could not be committed: {problem}")

    @property
    def _call_timeout(self) -> float:
        """Seconds for the last commit, and for the consumer's close."""
        return URGENT_TIMEOUT if self._switch.urgent else CALL_TIMEOUT

    def _out_of_time(self) -> bool:
        """Whether the loop was asked to stop now while it waited, and has waited on since."""
        return self._switch.urgent and time.monotonic() >= self._switch.deadline + URGENT_TIMEOUT

    def _linger(self) -> None:
        """Stay a member, and within the poll interval, until the shutdown hook has run."""
        while not self._released.wait(self._slice) and time.monotonic() < self._switch.deadline:
            self._serve(0)

    def _serve(self, timeout: float) -> None:
        """Poll for the callbacks only; a record that comes along is not ours to handle."""
        message = self._consumer.poll(timeout)
        if message is not None and (error := message.error()) is not None:
            self._on_error(error)

    def _close(self) -> None:
        try:
            bounded(self._consumer.close, self._call_timeout)
        except (KafkaException, TimeoutError, RuntimeError) as error:
            self._dispatch.tell(Trouble("close", str(error)))
        self._committer.close()


def _wake_interval(config: dict[str, Any]) -> float:
    """Seconds after which the client's main thread has to be woken for its heartbeats.

    It looks only twice a second whether one is due, and whenever somebody asks it something.
    """
    interval = int(config.get("heartbeat.interval.ms", 3000)) / 1000
    return interval if interval < CLIENTS_TURN else math.inf
