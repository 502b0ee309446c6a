"""The first steps of a forked worker, before its Start frame.

The fork server of `multiprocess` unpickles two objects in the child: a dictionary of
preparations, and an object with a `_bootstrap` method. That could be its own `Process`, but
that imports the parent's `__main__` again, which would run an embedding program a second time.
`Launch` prepares only sys.path and the current folder.
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
"""The signal that makes a worker write the stacks of its threads to stderr, even while C code
holds the interpreter's lock. Hardly any other program uses it."""
_STDERR = 2
"""The file descriptor; `sys.stderr` may be replaced or closed."""


@dataclass(frozen=True)
class Launch:
    """The object that a forked child runs.

    Attributes:
        entry: "module:function". It is called with the file descriptors that the parent
            passed, and returns the exit code.
    """

    entry: str

    def _bootstrap(self, parent_sentinel: int) -> int:
        """Run the entry; `multiprocess.spawn` calls this in the child."""
        # A process group of its own: a signal to the supervisor's group must not reach workers.
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the fork server ignores it
        faulthandler.register(DUMP_SIGNAL, _STDERR)
        os.close(parent_sentinel)  # the worker watches the supervisor itself, not this pipe
        _write_whole_lines()
        try:
            return _entry(self.entry)(_inherited_fds())
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else ExitCode.CRASH
        except BaseException:  # noqa: BLE001 - the outermost function of the process
            print_redacted()
            return ExitCode.CRASH
        finally:
            # The fork server exits by os._exit, which does not do what a normal exit does.
            atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()


def _write_whole_lines() -> None:
    """Write each line that user code prints at once, and in one piece.

    Workers share the supervisor's stdout. Without a buffer (PYTHONUNBUFFERED) parts of their
    lines would mix; with Python's buffer for pipes a line would come late, after SIGKILL never.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def print_redacted() -> None:
    """Write the traceback of the current exception, without the environment's secrets.

    For a process that has no log yet and does not know the other secrets.
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
    # The parent has no resource tracker and passed /dev/null instead. Reset it, so that
    # `multiprocess` starts a tracker if user code needs one.
    os.close(tracker._fd)  # noqa: SLF001 - as above
    tracker._fd = None  # noqa: SLF001 - as above
    return list(forkserver.get_inherited_fds())
