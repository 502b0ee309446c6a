"""Notices from a thread that an event loop is blocked, and names the code that blocks it.

A handler of an AsyncConsumerLoop that calls time.sleep(), a synchronous database driver or a long
computation stops every other handler too, and meanwhile no other thread could report it.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import PurePath
from typing import TYPE_CHECKING, Self

from flowodm.events import Blocked

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

    from flowodm.events import Event

BOUND = 1.0
"""Seconds for which an event loop may be blocked."""
AGAIN_AFTER = 30.0
"""Seconds after which a blockage that goes on is reported again."""
INTERVAL = 0.25
"""Seconds between two checks."""
LATE = 0.5
"""Seconds by which a check is late if this thread was held up itself."""

_DEBUGGERS = {"bdb", "pdb", "debugpy", "pydevd", "_pydevd_bundle"}
_INSTALLED = {"site-packages", "dist-packages"}


class _Rest(Enum):
    """How the pause before a check has gone.

    ENDED: the watchdog was stopped. LATE: the process ran, but this thread did not, because some
    code kept the interpreter's lock. STOOD_STILL: the process did not run either; it was stopped,
    suspended or starved of processor time.
    """

    ENDED = auto()
    IN_TIME = auto()
    LATE = auto()
    STOOD_STILL = auto()


class Watchdog:
    """Watches one event loop from a thread of its own, from :meth:`start` until :meth:`stop`.

    Four times a second it schedules a callback on the event loop, unless the loop is waiting for
    something to do; that costs nothing for each record, and nothing while the loop is idle.

    These are no blockages: a process that was stopped or a machine that was suspended (this
    thread stood still too, and no processor time was spent), a debugger's prompt, an event loop
    that has ended. A call that keeps the interpreter's lock, such as an endless regular
    expression, is one: it is reported when the call returns.

    Args:
        loop: The event loop.
        tell: Called with a :class:`flowodm.events.Blocked` in the watchdog's thread, once for each
            blockage and every `AGAIN_AFTER` seconds while it lasts.
        bound: Seconds for which the loop may be blocked.
        again_after: Seconds after which the same blockage is reported again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[Event], None],
        *,
        bound: float = BOUND,
        again_after: float = AGAIN_AFTER,
    ) -> None:
        self._loop = loop
        self._tell = tell
        self._bound = bound
        self._again_after = again_after
        self._watched = 0
        self._asked = 0
        self._answered = 0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start to watch the event loop on which this is called."""
        self._watched = threading.get_ident()
        threading.Thread(target=self._watch, name="flowodm-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop, without waiting for the thread; from any thread."""
        self._stopped.set()

    def __enter__(self) -> Self:
        """Start to watch the event loop on which this is called."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _watch(self) -> None:
        silent_since = time.monotonic()
        reported_at: float | None = None
        while (rest := self._rest()) is not _Rest.ENDED and not self._loop.is_closed():
            now = time.monotonic()
            if rest is _Rest.STOOD_STILL:
                silent_since = now
            elif rest is _Rest.IN_TIME and self._answered == self._asked:
                silent_since, reported_at = now, None
                if not self._is_idle():
                    self._ask()
            elif now >= self._report_due(silent_since, reported_at):
                where = self._culprit()
                if where is None:
                    silent_since = now
                    continue
                self._tell(Blocked(now - silent_since, where, again=reported_at is not None))
                reported_at = now

    def _report_due(self, silent_since: float, reported_at: float | None) -> float:
        if reported_at is None:
            return silent_since + self._bound
        return reported_at + self._again_after

    def _rest(self) -> _Rest:
        """Wait an INTERVAL; return how that has gone."""
        started, spent_before = time.monotonic(), time.process_time()
        if self._stopped.wait(INTERVAL):
            return _Rest.ENDED
        seconds = time.monotonic() - started
        if seconds < INTERVAL + LATE:
            return _Rest.IN_TIME
        spent = time.process_time() - spent_before
        # The process may have used the processor for an INTERVAL before it stood still. If it ran
        # on, a busy machine has given it an eighth of the rest at least.
        ran = spent > INTERVAL + (seconds - INTERVAL) / 8
        return _Rest.LATE if ran else _Rest.STOOD_STILL

    def _ask(self) -> None:
        """Schedule a callback that shows that the event loop runs."""
        self._asked += 1
        with suppress(RuntimeError):  # the event loop has just been closed
            self._loop.call_soon_threadsafe(self._answer, self._asked)

    def _answer(self, number: int) -> None:
        self._answered = number

    def _is_idle(self) -> bool:
        return not self._loop.is_running() or not any(_inside_callbacks(self._frame()))

    def _culprit(self) -> str | None:
        """Return the line that blocks the event loop; None if no code is to blame for it."""
        stack = [_CodeLine.of(frame) for frame in _inside_callbacks(self._frame())]
        debugged = any(line.package in _DEBUGGERS for line in stack)
        if not stack or debugged or not self._loop.is_running():
            return None
        return str(blame(stack))

    def _frame(self) -> FrameType | None:
        """Return the innermost frame of the event loop's thread."""
        return sys._current_frames().get(self._watched)  # noqa: SLF001 - its public name


@dataclass(frozen=True, slots=True)
class _CodeLine:
    """A line of code that is running.

    Attributes:
        function: The function's qualified name.
        module: The module's dotted name.
        line: The line's number.
        file: The path of the source file.
    """

    function: str
    module: str
    line: int
    file: str

    @classmethod
    def of(cls, frame: FrameType) -> Self:
        code = frame.f_code
        return cls(code.co_qualname, _module(frame), frame.f_lineno or 0, code.co_filename)

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def ours(self) -> bool:
        """Whether it is code of Python or of flowodm."""
        return self.package == "flowodm" or self.package in sys.stdlib_module_names

    @property
    def installed(self) -> bool:
        return not _INSTALLED.isdisjoint(PurePath(self.file).parts)

    def __str__(self) -> str:
        module = self.module
        if module == "__main__":
            module = PurePath(self.file).name
        return f"{self.function} ({module}:{self.line})"


def blame(stack: list[_CodeLine]) -> _CodeLine:
    """Return the innermost line of the program, rather than of a library that it calls.

    If the program is installed like its libraries, its package is the one that was called first.

    Args:
        stack: The running lines, the innermost one first; not empty.
    """
    foreign = [line for line in stack if not line.ours]
    for line in foreign:
        if not line.installed:
            return line
    for line in foreign:
        if line.package == foreign[-1].package:
            return line
    return stack[0]


def _inside_callbacks(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames that the event loop has called, the innermost first; none while it waits."""
    frames: list[FrameType] = []
    while frame is not None and not _is_event_loop(frame):
        frames.append(frame)
        frame = frame.f_back
    if frames and _module(frames[-1]) != "selectors":
        yield from frames


def _is_event_loop(frame: FrameType) -> bool:
    module = _module(frame)
    if module == "asyncio.base_events":
        return frame.f_code.co_name == "_run_once"
    return module == "asyncio.runners" or module.startswith("uvloop")  # uvloop has C frames only


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
