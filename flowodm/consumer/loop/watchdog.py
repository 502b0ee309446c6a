"""Notices from outside that an event loop does not run, and names the code that holds it up.

A handler of an AsyncConsumerLoop that calls time.sleep(), a synchronous database driver or a long
computation stops every other handler too, and nothing but this thread could say so meanwhile.
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

#: Seconds for which an event loop may be held up.
BOUND = 1.0
#: Seconds after which a blockage that goes on is told again.
AGAIN_AFTER = 30.0
#: Seconds between two looks.
INTERVAL = 0.25
#: A look that comes so many seconds late says that this thread was held up itself.
LATE = 0.5

_DEBUGGERS = {"bdb", "pdb", "debugpy", "pydevd", "_pydevd_bundle"}
_INSTALLED = {"site-packages", "dist-packages"}


class _Rest(Enum):
    """How the wait for the next look went.

    LATE: the process was at work but did not let this thread run, as code does that keeps the
    interpreter's lock. STOOD_STILL: it did not work either; it was stopped, suspended or starved.
    """

    ENDED = auto()
    IN_TIME = auto()
    LATE = auto()
    STOOD_STILL = auto()


class Watchdog:
    """Watches one event loop from a thread of its own, from :meth:`start` until :meth:`stop`.

    Four times a second it asks the event loop for a sign of life, unless it sees it wait for
    something to do; that costs the loop nothing a record, and nothing while it is idle.

    These are no blockages: a process that was stopped or a machine that was suspended (this
    thread stood still too, and no processor time was spent), a debugger's prompt, an event loop
    that has ended. A call that keeps the interpreter's lock, such as an endless regular
    expression, is one: it is told when the call returns.

    Args:
        loop: The event loop.
        tell: Gets a :class:`flowodm.events.Blocked`, in the watchdog's thread: once a blockage,
            and every `AGAIN_AFTER` seconds while it lasts.
        bound: Seconds for which the loop may be held up.
        again_after: Seconds after which the same blockage is told again.
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
        """Begin; call this on the event loop to watch."""
        self._watched = threading.get_ident()
        threading.Thread(target=self._watch, name="flowodm-watchdog", daemon=True).start()

    def stop(self) -> None:
        """End, without waiting for it; from any thread."""
        self._stopped.set()

    def __enter__(self) -> Self:
        """As :meth:`start`."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As :meth:`stop`."""
        self.stop()

    def _watch(self) -> None:
        silent_since, told_at = time.monotonic(), None
        while (rest := self._rest()) is not _Rest.ENDED and not self._loop.is_closed():
            now = time.monotonic()
            if rest is _Rest.STOOD_STILL:
                silent_since = now
            elif rest is _Rest.IN_TIME and self._answered == self._asked:
                silent_since, told_at = now, None
                if not self._idle():
                    self._ask()
            elif now >= (told_at + self._again_after if told_at else silent_since + self._bound):
                where = self._culprit()
                if where is None:
                    silent_since = now
                    continue
                self._tell(Blocked(now - silent_since, where, again=told_at is not None))
                told_at = now

    def _rest(self) -> _Rest:
        begun, spent = time.monotonic(), time.process_time()
        if self._stopped.wait(INTERVAL):
            return _Rest.ENDED
        took = time.monotonic() - begun
        if took < INTERVAL + LATE:
            return _Rest.IN_TIME
        # In time it could have spent an INTERVAL; and a busy machine gives it a share only.
        at_work = time.process_time() - spent > INTERVAL + (took - INTERVAL) / 8
        return _Rest.LATE if at_work else _Rest.STOOD_STILL

    def _ask(self) -> None:
        """Ask for a sign of life."""
        self._asked += 1
        with suppress(RuntimeError):  # it has been closed just now
            self._loop.call_soon_threadsafe(self._answer, self._asked)

    def _answer(self, number: int) -> None:
        self._answered = number

    def _idle(self) -> bool:
        return not self._loop.is_running() or not any(_inside_callbacks(self._frame()))

    def _culprit(self) -> str | None:
        """Where the event loop's thread is; None if nobody is to blame for it."""
        stack = [_Place.of(frame) for frame in _inside_callbacks(self._frame())]
        debugged = any(place.package in _DEBUGGERS for place in stack)
        if not stack or debugged or not self._loop.is_running():
            return None
        return str(blame(stack))

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._watched)  # noqa: SLF001 - its public name


@dataclass(frozen=True, slots=True)
class _Place:
    """A line that runs.

    Attributes:
        function: Qualified name.
        module: Dotted name.
        line: Number of the line.
        file: Path of the source.
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
        """Whether it belongs to Python or to flowodm."""
        return self.package == "flowodm" or self.package in sys.stdlib_module_names

    @property
    def installed(self) -> bool:
        return not _INSTALLED.isdisjoint(PurePath(self.file).parts)

    def __str__(self) -> str:
        main = self.module == "__main__"
        return f"{self.function} ({PurePath(self.file).name if main else self.module}:{self.line})"


def blame(stack: list[_Place]) -> _Place:
    """The innermost line of the program, rather than of a library that it calls.

    A program that is installed like its libraries is told from them by what was called first.

    Args:
        stack: The lines that run, the innermost one first; not empty.
    """
    foreign = [place for place in stack if not place.ours]
    for place in foreign:
        if not place.installed:
            return place
    return next((p for p in foreign if p.package == foreign[-1].package), stack[0])


def _inside_callbacks(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of what the event loop has called, the innermost first; none while it waits."""
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
