"""The first steps of a forked worker, before it knows what to run.

`multiprocess`'s fork server unpickles two things in the fresh child: a dictionary of
preparations and an object to bootstrap. Its own `Process` would be the latter, but prepares
the child by importing the parent's `__main__` again, which is fatal in somebody else's
program. `Launch` prepares nothing but sys.path and the folder.
"""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import io
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from supervisor.redaction import Redactor, of_environment, without_user
from supervisor.slot.restart import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    Entry = Callable[[list[int]], int]


if sys.platform == "linux":
    DUMP_SIGNAL = signal.SIGRTMAX
else:
    DUMP_SIGNAL = signal.SIGINFO
"""Makes a worker write the stacks of its threads to stderr, even while code in C keeps the
interpreter's lock. Hardly anything else uses this signal."""
_STDERR = 2


@dataclass(frozen=True)
class Launch:
    """What a forked child runs.

    Attributes:
        entry: "module:function"; called with the file descriptors that the parent passed,
            its return value is the exit code.
    """

    entry: str

    def _bootstrap(self, parent_sentinel: int) -> int:
        """Run the entry; `multiprocess.spawn` calls this in the child."""
        # A process group of its own: a signal to the supervisor's group is not for workers.
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the fork server ignores it
        faulthandler.register(DUMP_SIGNAL, _STDERR)
        os.close(parent_sentinel)  # the worker watches the supervisor itself, not this pipe
        _print_whole_lines()
        try:
            return _entry(self.entry)(_inherited_fds())
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else ExitCode.CRASH
        except BaseException:  # noqa: BLE001 - the last frame of the process: nothing is above
            print_redacted()
            return ExitCode.CRASH
        finally:
            # The fork server leaves by os._exit, so what a normal exit does is done here.
            atexit._run_exitfuncs()  # noqa: SLF001 - the interpreter offers no public way
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()


def _print_whole_lines() -> None:
    """Let what user code prints out at the end of each line, and in one piece.

    Workers share the supervisor's stdout. Unbuffered (PYTHONUNBUFFERED) the parts of their lines
    would mix; buffered, as Python has it for a pipe, a line is seen late, after SIGKILL never.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def print_redacted() -> None:
    """Write the traceback of the exception being handled, without what the environment hides.

    For a process that has not been told yet what else is secret, and has no log.
    """
    redact = Redactor(of_environment(os.environ))
    sys.stderr.write(without_user(redact(traceback.format_exc())))


def exit_at_once(_fds: list[int]) -> int:
    """Exit: an entry whose fork shows that the fork server has imported its modules."""
    return ExitCode.DONE


def _entry(name: str) -> Entry:
    module, _, function = name.partition(":")
    return cast("Entry", getattr(importlib.import_module(module), function))


def _inherited_fds() -> list[int]:
    from multiprocess import forkserver, resource_tracker  # noqa: PLC0415 - not in the parent

    tracker = resource_tracker._resource_tracker  # noqa: SLF001 - no public way to reset it
    # The parent runs no resource tracker and passed /dev/null in its place. Without one here,
    # `multiprocess` starts its own if user code ever needs it.
    os.close(tracker._fd)  # noqa: SLF001 - as above
    tracker._fd = None  # noqa: SLF001 - as above
    return list(forkserver.get_inherited_fds())
