"""The commands that talk to a running supervisor: status, reload, restart, scale and others."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from supervisor.control.client import RefusedError, UnreachableError, ask
from supervisor.instrumentation.status_table import worker_table, workers_of
from supervisor.report import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLUMNS = ("worker", "state", "pid", "partitions", "in flight", "lag", "processed", "restarts")
"""Columns of the table of workers, of those in status_table."""
REFRESH = 1.0
"""Seconds between two requests of `status --watch` and `states --follow`."""
WAIT = 0.2
"""Seconds between two requests of `--wait`."""
COMPLETION = 2.0
"""Seconds that a shell waits for the names that it completes, at most."""

ConfigFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="The supervisor's TOML file, if several run here."),
]
SocketPath = Annotated[
    Path | None,
    typer.Option(
        "--socket", help="The supervisor's control socket.", envvar="FLOWODM_CONTROL_SOCKET"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait", help="Return when the change is complete; exit status 5 if it is given up."
    ),
]


def _running(context: typer.Context) -> dict[str, Any]:
    """Return the consumers of the supervisor for completion; none if it does not answer."""
    # Behind an option that still lacks its value, click leaves FILE among the other arguments.
    file = context.params.get("file") or next(iter(context.args), None)
    socket_path = context.params.get("socket_path")
    try:
        # A shell would show an error among the names.
        with contextlib.redirect_stderr(io.StringIO()):
            path = _socket(Path(file) if file else None, socket_path)
        consumers: dict[str, Any] = ask(path, "GET", "/status", timeout=COMPLETION)["consumers"]
    except (typer.Exit, UnreachableError, RefusedError):
        return {}
    return consumers


def _consumers(context: typer.Context, incomplete: str) -> list[str]:
    return [name for name in _running(context) if name.startswith(incomplete)]


def _slots(context: typer.Context, incomplete: str) -> list[str]:
    """Return the slots of the consumer that is named before."""
    consumer = _running(context).get(context.params.get("consumer") or "", {"slots": []})
    numbers = [str(slot["slot"]) for slot in consumer["slots"]]
    return [number for number in numbers if number.startswith(incomplete)]


Consumer = Annotated[
    str | None, typer.Option(help="Only this consumer.", autocompletion=_consumers)
]
SlotNumber = Annotated[
    int | None,
    typer.Option(help="Only this worker of the consumer.", min=0, autocompletion=_slots),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, states, reload, restart, scale, pause, resume, stop):
        app.command()(command)


def status(
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update it until Ctrl-C.")] = False,
) -> None:
    """Show consumers and workers. Exit status 0 if every worker is assigned, else 1."""
    path = _socket(file, socket_path)
    answer = _exit_on_error(lambda: ask(path, "GET", "/status"))
    if as_json:
        _print(answer)
    elif watch:
        _watch(path, answer)
    else:
        Console(highlight=False).print(_shown(answer))
    raise typer.Exit(0 if answer["ready"] else 1)


def states(
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show the latest state changes of all workers, one a line."""
    path, latest = _socket(file, socket_path), 0
    try:
        while True:
            answer = _exit_on_error(partial(ask, path, "GET", f"/states?after={latest}"))
            for change in answer["states"]:
                latest = change["number"]
                _write(json.dumps(change, ensure_ascii=False) if as_json else _line(change))
            if not follow:
                return
            time.sleep(REFRESH)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _line(change: dict[str, Any]) -> str:
    """Make the line of a state change."""
    moment = datetime.fromtimestamp(change["at"]).astimezone().isoformat(timespec="milliseconds")
    pid = "" if change["pid"] is None else f" pid {change['pid']}"
    why = f": {change['why']}" if change["why"] else ""
    worker = f"{change['consumer']}/{change['slot']}{pid}"
    return f"{moment} {worker} {change['before']} -> {change['after']}{why}"


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def reload(
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    wait: Wait = False,
) -> None:
    """Read the configuration again and apply what has changed.

    It is validated as a whole first. If it is not valid, nothing is changed, all problems are
    printed, and the exit status is 78.
    """
    _change(_socket(file, socket_path), "/reload", as_json, wait=wait)


def restart(
    file: ConfigFile = None,
    consumer: Consumer = None,
    slot: SlotNumber = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    wait: Wait = False,
) -> None:
    """Replace workers, one after the other; the new ones load new code."""
    path = _socket(file, socket_path)
    _change(path, "/restart", as_json, wait=wait, consumer=consumer, slot=slot)


def scale(
    consumer: Annotated[str, typer.Argument(help="The consumer.", autocompletion=_consumers)],
    workers: Annotated[int, typer.Argument(help="The number of its workers.")],
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    wait: Wait = False,
) -> None:
    """Change the number of a consumer's workers.

    The next reload takes the number from the file again.
    """
    path = _socket(file, socket_path)
    _change(path, "/scale", as_json, wait=wait, consumer=consumer, workers=workers)


def pause(
    file: ConfigFile = None,
    consumer: Consumer = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Stop workers from fetching records and from starting handlers.

    They stay members of their groups, and finish their running handlers.
    """
    _change(_socket(file, socket_path), "/pause", as_json, consumer=consumer)


def resume(
    file: ConfigFile = None,
    consumer: Consumer = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Let paused workers go on."""
    _change(_socket(file, socket_path), "/resume", as_json, consumer=consumer)


def stop(
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    now: Annotated[bool, typer.Option("--now", help="Kill the workers instead.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the supervisor has ended.")
    ] = False,
) -> None:
    """Drain all workers and end the supervisor. Returns at once without --wait."""
    path = _socket(file, socket_path)
    _exit_on_error(lambda: ask(path, "POST", "/stop", now=now or None))
    with contextlib.suppress(UnreachableError):
        while wait:
            ask(path, "GET", "/status")
            time.sleep(WAIT)


def _socket(file: Path | None, option: Path | None) -> Path:
    """Find the control socket: the option's, else the file's, else the only one that exists."""
    from supervisor.config.problems import ConfigError  # noqa: PLC0415 - as above
    from supervisor.config.toml import load_config  # noqa: PLC0415 - as above
    from supervisor.control.server import default_path  # noqa: PLC0415 - `--help` is quick without

    if option is not None:
        return option
    if file is None:
        return _only_socket()
    try:
        table = load_config(file).supervisor
    except ConfigError as error:
        _fail(f"{file} is not valid: name the supervisor by --socket instead\n{error}")
    if table.control_socket == "auto":
        return default_path(table.own_name)
    if not table.control_socket:
        _fail(f'{file}: supervisor.control_socket is "": this supervisor takes no commands')
    return Path(table.control_socket)


def _only_socket() -> Path:
    """Return the only socket in the default folder, or where this host's supervisor has it."""
    from supervisor.control.server import default_path  # noqa: PLC0415 - as above

    folder = default_path("any").parent
    sockets = sorted(folder.glob("*.sock")) if folder.is_dir() else []
    if len(sockets) > 1:
        names = ", ".join(map(str, sockets))
        _fail(f"several supervisors run here: name a FILE, or one of them with --socket: {names}")
    return sockets[0] if sockets else default_path(socket.gethostname())


def _change(
    path: Path, request: str, as_json: bool, *, wait: bool = False, **arguments: Any
) -> None:
    """Request a change, print what it does, and wait for its end."""
    change = _exit_on_error(lambda: ask(path, "POST", request, **arguments))
    if as_json:
        _print(change)
    else:
        lines = [f"{action}: {', '.join(names)}" for action, names in change.items() if names]
        Console(highlight=False, soft_wrap=True).print("\n".join(lines) or "nothing to change")
    if wait:
        _wait_until_changed(path)


def _wait_until_changed(path: Path) -> None:
    """Wait for the end of a change.

    The supervisor bounds the wait: it gives the rest up if a new worker is not at work in time.
    """
    while True:
        answer = _exit_on_error(lambda: ask(path, "GET", "/status"))
        if not answer["changing"] and not answer["leaving"]:
            break
        time.sleep(WAIT)
    if answer["given_up"]:
        _fail(f"the rest of the change was given up: {answer['given_up']}", ExitStatus.REFUSED)


def _exit_on_error(request: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the answer to a request; end the command if there is none, or it is refused."""
    try:
        return request()
    except UnreachableError as error:
        _fail(str(error), ExitStatus.UNREACHABLE)
    except RefusedError as error:
        status = ExitStatus.CONFIGURATION if error.problems else ExitStatus.REFUSED
        _fail("\n".join([*error.problems, str(error)]), status)


def _fail(message: str, status: int = ExitStatus.USAGE) -> NoReturn:
    """Print a message and end the command."""
    text = Text(f"flowodm-supervisor: {message}")
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)
    raise typer.Exit(status)


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")


def _watch(path: Path, answer: dict[str, Any]) -> None:
    """Show /status and keep it up to date, until Ctrl-C."""
    try:
        with Live(_shown(answer), auto_refresh=False) as live:
            while True:
                time.sleep(REFRESH)
                answer = _exit_on_error(lambda: ask(path, "GET", "/status"))
                live.update(_shown(answer), refresh=True)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _shown(status: dict[str, Any]) -> Group:
    """Make what `status` shows: a head, the table, and why workers failed."""
    ready = "ready" if status["ready"] else "not ready"
    head = Text(f"{status['instance_id']}: {status['state']}, {ready}")
    table = worker_table(workers_of(status), COLUMNS)
    return Group(head, table, *(Text(line, style="red") for line in _failures(status)))


def _failures(status: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each worker that has failed, or waits for its restart."""
    for name, consumer in status["consumers"].items():
        for slot in consumer["slots"]:
            if slot["last_failure"] and slot["state"] in {"failed", "backing_off"}:
                yield f"{name}/{slot['slot']}: {slot['last_failure']['message']}"
