"""What ConsumerLoop and AsyncConsumerLoop have in common around their run()."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from flowodm.consumer.loop.session import Session
from flowodm.consumer.options.loop_options import OPTIONS
from flowodm.consumer.stop import StopSwitch
from flowodm.events import EndReason, LoopState, LoopStatus
from flowodm.exceptions import ConsumerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Message

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
    """Options, the switch, and the one session that may run at a time.

    Attributes:
        options: The checked arguments.
        before_join: Called in the poller's thread when the consumer has been made and before it
            joins its group; what it raises ends the loop. For whoever supervises the loop.
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
        """Take :meth:`pause` back; from any thread."""
        self._switch.paused = False

    def ask_group(self) -> None:
        """Ask the group now for what has changed, as a member is known to be gone; any thread.

        It matters under KIP-848, where the next heartbeat may be 5 s away.
        """
        if self._session is not None:
            self._session.poller.ask_group()

    def status(self) -> LoopStatus:
        """A snapshot of the loop; from any thread."""
        session = self._session
        return LoopStatus(LoopState.CREATED) if session is None else session.dispatch.status()

    @contextmanager
    def _session_of_a_run(self, wake: Callable[[], None] | None = None) -> Iterator[Session]:
        """One session at a time; afterwards the loop may run again."""
        if not self._running.acquire(blocking=False):
            raise ConsumerError("this loop is already running; make a second one to run twice")
        try:
            self._session = session = Session(self.options, self._switch, wake)
            session.poller.before_join = self.before_join
            yield session
        finally:
            paused = self._switch.paused
            self._switch = StopSwitch(self.options.drain_timeout, paused=paused)
            self._signals = 0
            self._running.release()

    def _on_signal(self, _signum: int) -> None:
        """The first signal asks, the second one means now."""
        self._signals += 1
        self._switch.press(now=self._signals > 1, reason=EndReason.SIGNAL)
