"""Calls that may never return, and coroutines that never wait."""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

_START_TIMEOUT = 2.0
"""Seconds that a new thread has to start."""


class _BoundedEvent(threading.Event):
    """The event for which ``Thread.start`` waits, with a time-out.

    A thread for which there is no memory never sets it, and ``Thread.start`` has no time-out.
    """

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(_START_TIMEOUT if timeout is None else timeout)


def bounded(call: Callable[[], T], timeout: float) -> T:
    """Make a call in a new thread, and wait for it with a time-out.

    Args:
        call: What to call. If it does not return in time, its thread goes on as a daemon.
        timeout: Seconds to wait.

    Raises:
        TimeoutError: The call has not returned in time.
        RuntimeError: The operating system cannot start a thread.
    """
    answer: Future[T] = Future()

    def make() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised below, in the calling thread
            answer.set_exception(error)

    thread = threading.Thread(target=make, name="flowodm-bounded", daemon=True)
    thread._started = _BoundedEvent()  # type: ignore[attr-defined]  # noqa: SLF001 - see there
    thread.start()
    if thread.ident is None:
        raise RuntimeError(f"a thread has not started within {_START_TIMEOUT:.0f} s")
    wait([answer], timeout)
    if not answer.done():
        raise TimeoutError(f"no answer within {timeout:.1f} s")
    return answer.result()


def run_synchronously(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, without an event loop.

    So what threads and event loops do in the same way is written once, as a coroutine whose
    calls either return at once or are awaited.

    Raises:
        RuntimeError: The coroutine waits for something.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a call was awaited outside of an event loop")
