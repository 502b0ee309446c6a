"""The commands dead-letters list and dead-letters replay."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from flowodm.cli.connecting import Properties, PropertiesFile, Servers, connected, require_topic
from flowodm.cli.process import STATUSES
from flowodm.cli.records import text_of
from flowodm.cli.terminal import AsJson, answer, dumped, line, out, printable, say
from flowodm.consumer.dead_letters.replay import Replayed, list_dead_letters, replay_dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowodm.consumer.dead_letters.headers import DeadLetter

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The dead-letter topic.")]
Most = Annotated[
    int | None, typer.Option("--max", "-n", metavar="NUMBER", min=0, help="End after so many.")
]
OfGroup = Annotated[
    str | None,
    typer.Option(
        "--of-group", metavar="GROUP", help="Only those that this consumer group gave up."
    ),
]
OfTopic = Annotated[
    str | None,
    typer.Option("--of-topic", metavar="TOPIC", help="Only those that come from this topic."),
]
OfError = Annotated[
    str | None,
    typer.Option(
        "--of-error",
        metavar="CLASS",
        help="Only those of this exception, with or without its module; its cause counts too.",
    ),
]
Saying = Annotated[
    str | None,
    typer.Option(
        "--saying", metavar="TEXT", help="Only those whose exception's text has this in it."
    ),
]

_app = typer.Typer(
    name="dead-letters",
    help="Look at what loops have put aside; put it back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    _app.command("list", epilog=STATUSES)(list_)
    _app.command("replay", epilog=STATUSES)(replay)
    app.add_typer(_app)


def list_(
    topic: Topic,
    most: Most = None,
    of_group: OfGroup = None,
    of_topic: OfTopic = None,
    of_error: OfError = None,
    saying: Saying = None,
    stack_trace: Annotated[
        bool, typer.Option("--stack-trace", help="Each with its stack trace.")
    ] = False,
    as_json: AsJson = False,
    servers: Servers = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Show what is in a dead-letter topic, a line each.

    With --json each is a line of JSON. It reads from the beginning to the present end, joins no
    group and commits nothing. What was put back is still there, until the topic's retention
    removes it.
    """
    connected(servers, None, properties, config)
    require_topic(topic)
    letters = _chosen(topic, _wanted(of_group, of_topic, of_error, saying), most)
    if as_json:
        for letter in letters:
            line(dumped(_told(letter)))
    elif out().is_terminal and not stack_trace:
        _show(letters)
    else:
        for letter in letters:
            line(printable(_shown(letter)))
            if stack_trace and letter.stack_trace:
                line(printable(letter.stack_trace.rstrip("\n")))


def replay(
    topic: Topic,
    to: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="Another topic for all; by default where each failed."),
    ] = None,
    most: Most = None,
    of_group: OfGroup = None,
    of_topic: OfTopic = None,
    of_error: OfError = None,
    saying: Saying = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP",
            help="In whose name it is noted what was replayed; by default TOPIC-replay.",
        ),
    ] = None,
    as_json: AsJson = False,
    servers: Servers = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Put dead letters back where they failed, each once.

    Every consumer group of the original topic gets them. They stay in the dead-letter topic, and
    it is noted which were put back, so that the next replay goes on after them. Those that are
    not chosen stay for another replay.
    """
    connected(servers, None, properties, config)
    require_topic(topic)
    where = _wanted(of_group, of_topic, of_error, saying)
    done = replay_dead_letters(topic, to=to, limit=most, group_id=group, where=where)
    if as_json:
        answer({"topic": topic, **asdict(done)})
    else:
        say(_summary(done, most))


def _summary(done: Replayed, most: int | None) -> str:
    text = f"{done.count} put back, {done.left} left for another replay"
    if done.complete:
        return text
    if most is not None and done.count >= most:
        return f"{text}, ended by --max"
    return f"{text}; not all could be looked at, call it again"


def _wanted(
    group: str | None, topic: str | None, error: str | None, saying: str | None
) -> Callable[[DeadLetter], bool]:
    def wanted(letter: DeadLetter) -> bool:
        return (
            group in {None, letter.group}
            and topic in {None, letter.original_topic}
            and (error is None or _is_of(error, letter.exception_class, letter.cause_class))
            and (saying is None or saying in (letter.exception_message or ""))
        )

    return wanted


def _is_of(error: str, *classes: str | None) -> bool:
    return any(name == error or (name or "").endswith(f".{error}") for name in classes)


def _chosen(
    topic: str, wanted: Callable[[DeadLetter], bool], most: int | None
) -> Iterator[DeadLetter]:
    count = 0
    for letter in list_dead_letters(topic):
        if count == most:
            return
        if wanted(letter):
            count += 1
            yield letter


def _place(letter: DeadLetter) -> str:
    if letter.original_topic is None:
        return "unknown"
    number = "?" if letter.original_partition is None else letter.original_partition
    offset = "?" if letter.original_offset is None else letter.original_offset
    return f"{letter.original_topic}[{number}]@{offset}"


def _moment(letter: DeadLetter) -> str:
    return letter.timestamp.isoformat(timespec="milliseconds") if letter.timestamp else "-"


def _error(letter: DeadLetter) -> str:
    text = " ".join((letter.exception_message or "").split())
    kind = letter.exception_class or "unknown"
    return f"{kind}: {text}" if text else kind


def _shown(letter: DeadLetter) -> str:
    own = f"{letter.partition}/{letter.offset}"
    return f"{own} {_moment(letter)} {_place(letter)} {letter.group or '-'} {_error(letter)}"


def _show(letters: Iterator[DeadLetter]) -> None:
    table = Table("offset", "when", "from", "group", "replays", "error")
    for letter in letters:
        own = f"{letter.partition}/{letter.offset}"
        cells = (_moment(letter), _place(letter), letter.group or "-", letter.replays)
        table.add_row(own, *(Text(printable(str(cell))) for cell in (*cells, _error(letter))))
    out().print(table)


def _told(letter: DeadLetter) -> dict[str, Any]:
    """All of it for scripts."""
    told = asdict(letter)
    for name in ("timestamp", "original_timestamp"):
        moment = told[name]
        told[name] = moment and moment.isoformat(timespec="milliseconds")
    told["key"], told["value"] = text_of(letter.key), text_of(letter.value)
    told["headers"] = [[name, text_of(value)] for name, value in letter.headers]
    told["original_headers"] = [[name, text_of(value)] for name, value in letter.original_headers]
    return {**told, "replays": letter.replays}
