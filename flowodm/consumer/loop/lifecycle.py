"""What both loops have in common: their options, how they are stopped, and who supervises them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from flowodm.consumer.loop.session import Session
from flowodm.consumer.options.loop_options import OPTIONS
from flowodm.consumer.stop import StopSwitch
from flowodm.events import EndReason, LoopState, LoopStatus
from flowodm.exceptions import ConsumerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from confluent_kafka import Message

    from flowodm.consumer.kafka.source import Source
    from flowodm.consumer.options.options import Options
    from flowodm.model import FlowBaseModel
    from flowodm.settings import BaseSettings

T = TypeVar("T")


class OptionValue(Generic[T]):
    """A read-only attribute of a loop: the value of the option of the same name.

    An enumeration's member is read as the string that names it.
    """

    def __set_name__(self, kind: type, name: str) -> None:
        self._name = name
        self.__doc__ = OPTIONS[name].meaning

    @overload
    def __get__(self, loop: None, kind: type) -> Self: ...

    @overload
    def __get__(self, loop: Loop, kind: type) -> T: ...

    def __get__(self, loop: Loop | None, kind: type) -> Any:
        if loop is None:
            return self
        value = getattr(loop.options, self._name)
        return value.value if isinstance(value, Enum) else value

    def __set__(self, loop: Loop, value: object) -> None:
        raise AttributeError(f"{self._name} is an option: pass it when the loop is made")


class Loop:
    """Has options, and runs one session at a time.

    Attributes:
        options: The checked options.
        before_join: Called in the poller's thread after the consumer was created and before it
            joins its group; what it raises ends the loop. For a supervisor.
    """

    before_join: Callable[[], None] | None = None

    model: OptionValue[type[FlowBaseModel]] = OptionValue()
    handler: OptionValue[Callable[..., Any]] = OptionValue()
    settings: OptionValue[BaseSettings] = OptionValue()
    group_id: OptionValue[str | None] = OptionValue()
    error_handler: OptionValue[Callable[[Exception, Message, Any], Any] | None] = OptionValue()
    on_startup: OptionValue[Callable[[], Any] | None] = OptionValue()
    on_shutdown: OptionValue[Callable[[], Any] | None] = OptionValue()
    commit_strategy: OptionValue[str] = OptionValue()
    max_retries: OptionValue[int] = OptionValue()
    retry_delay: OptionValue[float] = OptionValue()
    poll_timeout: OptionValue[float] = OptionValue()
    max_concurrent: OptionValue[int] = OptionValue()

    def __init__(self, options: Options) -> None:
        self.options = options
        self._switch = StopSwitch(options.drain_timeout)
        self._session: Session | None = None
        self._running = threading.Lock()
        self._signals = 0

    def stop(self, now: bool = False) -> None:
        """Ask the loop to stop; from any thread, and from a signal handler.

        Handlers that run get ``drain_timeout`` seconds to finish, then offsets are committed
        and the consumer leaves. Before run() it makes the next run() end at once.

        Args:
            now: Do not wait for handlers any longer. Their records are not settled.
        """
        self._switch.press(now=now)

    def pause(self) -> None:
        """Fetch nothing and start no handler until :meth:`resume`; from any thread.

        Handlers that run finish their message. The loop stays a member of its group, commits
        what is settled, and stops as ever. It takes effect within 0.1 s; before run() it holds
        from the beginning, and it outlasts a run.
        """
        self._switch.paused = True

    def resume(self) -> None:
        """Fetch and handle again after :meth:`pause`; from any thread."""
        self._switch.paused = False

    def status(self) -> LoopStatus:
        """Return a snapshot of the loop; from any thread."""
        session = self._session
        return LoopStatus(LoopState.CREATED) if session is None else session.dispatch.status()

    # ---- for supervisors and tests -------------------------------------------------------

    def ask_group(self) -> None:
        """Ask the group at once for its changes, as a member is known to be gone; any thread.

        It matters under KIP-848, where the next heartbeat may be 5 s away.
        """
        if self._session is not None:
            self._session.ask_group()

    def consumer_source(self) -> Source:
        """Return what the next run() will consume, and with which client configuration.

        Raises:
            ConfigurationError: The topic, the group or the connection is not configured.
        """
        return self.options.source()

    def set_client_defaults(self, config: Mapping[str, Any]) -> None:
        """Set properties of the client, unless the loop's options or its profile set them.

        Args:
            config: Properties of librdkafka; they hold from the next run() on.
        """
        options = self.options
        taken = options.settings.extra_config.keys() | options.consumer_config.keys()
        defaults = {name: value for name, value in config.items() if name not in taken}
        merged = {**options.consumer_config, **defaults}
        self.options = replace(options, consumer_config=merged)

    @contextmanager
    def replaced_options(self, **options: Any) -> Iterator[None]:
        """Replace some options within a block, in which run() is called.

        Args:
            options: The options by their names.
        """
        original = self.options
        self.options = replace(original, **options)
        try:
            yield
        finally:
            self.options = original

    @property
    def session(self) -> Session | None:
        """The present run or the last one; None before the first run.

        Unlike the loop's own :meth:`stop`, ``session.stop()`` never stops the run after it.
        """
        return self._session

    def cancel_hook(self) -> None:
        """Cancel the hook that is running; from any thread.

        A ConsumerLoop's hooks cannot be cancelled: they are plain functions.
        """

    # ---- for the loops -------------------------------------------------------------------

    @contextmanager
    def _new_session(self, wake: Callable[[], None] | None = None) -> Iterator[Session]:
        """Make the session of a run; afterwards the loop may run again.

        Args:
            wake: See :class:`~flowodm.consumer.dispatch.Dispatch`.

        Raises:
            ConsumerError: Another run is under way.
        """
        if not self._running.acquire(blocking=False):
            raise ConsumerError("this loop is already running; make a second one to run twice")
        try:
            session = Session(self.options, self._switch, wake, before_join=self.before_join)
            self._session = session
            yield session
        finally:
            paused = self._switch.paused
            self._switch = StopSwitch(self.options.drain_timeout, paused=paused)
            self._signals = 0
            self._running.release()

    def _on_signal(self, _signum: int) -> None:
        """Stop at the first signal; at the second one stop now."""
        self._signals += 1
        self._switch.press(now=self._signals > 1, reason=EndReason.SIGNAL)
