"""The commands that talk to a running supervisor: status, reload, restart, scale, stop."""

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
"""Columns of the table, of those in status_table."""
REFRESH = 1.0
"""Seconds between two looks of `status --watch`."""
WAIT = 0.2
"""Seconds between two looks of `--wait`."""
COMPLETION = 2.0
"""Seconds that a shell may wait for what it completes."""

ConfigFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Its TOML file, where several supervisors run here."),
]
SocketPath = Annotated[
    Path | None,
    typer.Option("--socket", help="Its control socket.", envvar="FLOWODM_CONTROL_SOCKET"),
]
AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON, for scripts.")]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Return when all of it is done; exit status 5 if it is given up."),
]


def _running(context: typer.Context) -> dict[str, Any]:
    """What a shell completes from: the consumers of the supervisor, if the one meant answers."""
    given = context.params
    # Behind an option that still lacks its value, click leaves FILE among the rest.
    file = given.get("file") or next(iter(context.args), None)
    socket_path = given.get("socket_path")
    try:
        # A shell shows what it completes, and nothing else.
        with contextlib.redirect_stderr(io.StringIO()):
            path = _socket(Path(file) if file else None, socket_path)
        found: dict[str, Any] = ask(path, "GET", "/status", timeout=COMPLETION)["consumers"]
    except (typer.Exit, UnreachableError, RefusedError):
        return {}
    return found


def _consumers(context: typer.Context, incomplete: str) -> list[str]:
    return [name for name in _running(context) if name.startswith(incomplete)]


def _slots(context: typer.Context, incomplete: str) -> list[str]:
    """Those of the consumer that has been named."""
    consumer = _running(context).get(context.params.get("consumer") or "", {"slots": []})
    numbers = [str(slot["slot"]) for slot in consumer["slots"]]
    return [number for number in numbers if number.startswith(incomplete)]


Consumer = Annotated[
    str | None, typer.Option(help="Only this consumer.", autocompletion=_consumers)
]
SlotNumber = Annotated[
    int | None,
    typer.Option(help="Only this one of its workers.", min=0, autocompletion=_slots),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, states, reload, restart, scale, pause, resume, stop):
        app.command()(command)


def status(
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Until Ctrl-C.")] = False,
) -> None:
    """Show consumers and workers. Exit status 0 if every worker is assigned, else 1."""
    path = _socket(file, socket_path)
    told = _asked(lambda: ask(path, "GET", "/status"))
    if as_json:
        _print(told)
    elif watch:
        _watch(path, told)
    else:
        Console(highlight=False).print(_shown(told))
    raise typer.Exit(0 if told["ready"] else 1)


def states(
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until Ctrl-C.")] = False,
) -> None:
    """Show the latest changes of state of all workers, a line each."""
    path, known = _socket(file, socket_path), 0
    try:
        while True:
            for change in _asked(partial(ask, path, "GET", f"/states?after={known}"))["states"]:
                known = change["number"]
                _write(json.dumps(change, ensure_ascii=False) if as_json else _line(change))
            if not follow:
                return
            time.sleep(REFRESH)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _line(change: dict[str, Any]) -> str:
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
    """Read the configuration anew; only what differs is touched.

    It is validated as a whole first. Where it is not valid, nothing is changed, all that is
    wrong is said, and the exit status is 78.
    """
    _change(_socket(file, socket_path), "/reload", as_json, wait)


def restart(
    file: ConfigFile = None,
    consumer: Consumer = None,
    slot: SlotNumber = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    wait: Wait = False,
) -> None:
    """Replace workers one after the other; the new ones load new code."""
    path = _socket(file, socket_path)
    _change(path, "/restart", as_json, wait, consumer=consumer, slot=slot)


def scale(
    consumer: Annotated[str, typer.Argument(help="The consumer.", autocompletion=_consumers)],
    workers: Annotated[int, typer.Argument(help="How many workers it is to have.")],
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
    wait: Wait = False,
) -> None:
    """Run a consumer with another number of workers.

    Until the next reload, which takes the number from the file.
    """
    path = _socket(file, socket_path)
    _change(path, "/scale", as_json, wait, consumer=consumer, workers=workers)


def pause(
    file: ConfigFile = None,
    consumer: Consumer = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Have workers fetch nothing and start no handler.

    They stay members of their groups, and finish what they have begun.
    """
    _change(_socket(file, socket_path), "/pause", as_json, consumer=consumer)


def resume(
    file: ConfigFile = None,
    consumer: Consumer = None,
    socket_path: SocketPath = None,
    as_json: AsJson = False,
) -> None:
    """Have paused workers go on."""
    _change(_socket(file, socket_path), "/resume", as_json, consumer=consumer)


def stop(
    file: ConfigFile = None,
    socket_path: SocketPath = None,
    now: Annotated[bool, typer.Option("--now", help="Kill instead of draining.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
) -> None:
    """Drain all workers and end the supervisor. Returns at once, unless told to wait."""
    path = _socket(file, socket_path)
    _asked(lambda: ask(path, "POST", "/stop", now=now or None))
    with contextlib.suppress(UnreachableError):
        while wait:
            ask(path, "GET", "/status")
            time.sleep(WAIT)


def _socket(file: Path | None, given: Path | None) -> Path:
    """The option's, else the file's, else the only one that there is for this host's name."""
    from supervisor.config.problems import ConfigError  # noqa: PLC0415 - as above
    from supervisor.config.toml import load_config  # noqa: PLC0415 - as above
    from supervisor.control.server import default_path  # noqa: PLC0415 - `--help` is quick without

    if given is not None:
        return given
    if file is None:
        folder = default_path("any").parent
        found = sorted(folder.glob("*.sock")) if folder.is_dir() else []
        if len(found) > 1:
            names = ", ".join(map(str, found))
            _fail(
                f"several supervisors run here: name a FILE, or one of them with --socket: {names}"
            )
        return found[0] if found else default_path(socket.gethostname())
    try:
        table = load_config(file).supervisor
    except ConfigError as error:
        _fail(f"{file} is not valid, so say which supervisor is meant by --socket\n{error}")
    if table.control_socket == "auto":
        return default_path(table.own_name)
    if not table.control_socket:
        _fail(f'{file}: supervisor.control_socket is "": this supervisor takes no commands')
    return Path(table.control_socket)


def _change(path: Path, what: str, as_json: bool, wait: bool = False, **arguments: Any) -> None:
    change = _asked(lambda: ask(path, "POST", what, **arguments))
    if as_json:
        _print(change)
    else:
        lines = [f"{how}: {', '.join(names)}" for how, names in change.items() if names]
        Console(highlight=False, soft_wrap=True).print("\n".join(lines) or "nothing to change")
    if wait:
        _wait_until_changed(path)


def _wait_until_changed(path: Path) -> None:
    """Bounded by the supervisor, which gives up where a successor is not at work in time."""
    while True:
        told = _asked(lambda: ask(path, "GET", "/status"))
        if not told["changing"] and not told["leaving"]:
            break
        time.sleep(WAIT)
    if told["given_up"]:
        _fail(f"the rest is given up: {told['given_up']}", ExitStatus.REFUSED)


def _asked(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return question()
    except UnreachableError as error:
        _fail(str(error), ExitStatus.UNREACHABLE)
    except RefusedError as error:
        wrong = ExitStatus.CONFIGURATION if error.problems else ExitStatus.REFUSED
        _fail("\n".join([*error.problems, str(error)]), wrong)


def _fail(message: str, status: int = ExitStatus.USAGE) -> NoReturn:
    text = Text(f"flowodm-supervisor: {message}")
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)
    raise typer.Exit(status)


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")


def _watch(path: Path, told: dict[str, Any]) -> None:
    try:
        with Live(_shown(told), auto_refresh=False) as live:
            while True:
                time.sleep(REFRESH)
                live.update(_shown(_asked(lambda: ask(path, "GET", "/status"))), refresh=True)
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
