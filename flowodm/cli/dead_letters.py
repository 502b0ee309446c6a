"""The commands dead-letters list and dead-letters replay."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from flowodm.cli.connecting import (
    Properties,
    PropertiesFile,
    Servers,
    configure_connection,
    require_topic,
)
from flowodm.cli.process import STATUSES
from flowodm.cli.records import text_of
from flowodm.cli.terminal import AsJson, answer, json_text, line, out, printable, say
from flowodm.consumer.dead_letters.replay import Replayed, list_dead_letters, replay_dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowodm.consumer.dead_letters.headers import DeadLetter, Headers

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The dead-letter topic.")]
Most = Annotated[
    int | None,
    typer.Option("--max", "-n", metavar="NUMBER", min=0, help="Stop after this many dead letters."),
]
OfGroup = Annotated[
    str | None,
    typer.Option("--of-group", metavar="GROUP", help="Only dead letters of this consumer group."),
]
OfTopic = Annotated[
    str | None,
    typer.Option("--of-topic", metavar="TOPIC", help="Only dead letters from this topic."),
]
OfError = Annotated[
    str | None,
    typer.Option(
        "--of-error",
        metavar="CLASS",
        help="Only dead letters of this exception class, with or without its module; the class of "
        "its cause counts too.",
    ),
]
Saying = Annotated[
    str | None,
    typer.Option(
        "--saying", metavar="TEXT", help="Only dead letters whose exception message contains this."
    ),
]

_app = typer.Typer(
    name="dead-letters",
    help="List and replay dead letters.",
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
        bool, typer.Option("--stack-trace", help="Print the stack trace of each.")
    ] = False,
    as_json: AsJson = False,
    servers: Servers = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """List the dead letters in a topic, one per line.

    With --json each line is JSON. The command reads from the beginning to the end that the topic
    has now, joins no group and commits nothing. Replayed dead letters stay in the topic until its
    retention removes them.
    """
    configure_connection(servers, None, properties, file=config)
    require_topic(topic)
    letters = _chosen(topic, _matching(of_group, of_topic, of_error, saying=saying), most)
    if as_json:
        for letter in letters:
            line(json_text(_json(letter)))
    elif out().is_terminal and not stack_trace:
        _show_table(letters)
    else:
        for letter in letters:
            line(printable(_line(letter)))
            if stack_trace and letter.stack_trace:
                line(printable(letter.stack_trace.rstrip("\n")))


def replay(
    topic: Topic,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC",
            help="Send all of them to this topic; by default each to its original topic.",
        ),
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
            help="The group that records which ones were replayed; by default TOPIC-replay.",
        ),
    ] = None,
    as_json: AsJson = False,
    servers: Servers = None,
    properties: Properties = None,
    config: PropertiesFile = None,
) -> None:
    """Send dead letters back to their original topics, each once.

    All consumer groups of the original topic receive them. Dead letters stay in the dead-letter
    topic. A consumer group's offsets record which ones were replayed, so that the next replay
    continues after them. Those that the options exclude remain for another replay.
    """
    configure_connection(servers, None, properties, file=config)
    require_topic(topic)
    where = _matching(of_group, of_topic, of_error, saying=saying)
    result = replay_dead_letters(topic, to=to, limit=most, group_id=group, where=where)
    if as_json:
        answer({"topic": topic, **asdict(result)})
    else:
        say(_summary(result, most))


def _summary(result: Replayed, most: int | None) -> str:
    text = f"{result.count} replayed, {result.left} left for another replay"
    if result.complete:
        return text
    if most is not None and result.count >= most:
        return f"{text}; stopped by --max"
    return f"{text}; not all dead letters were read: run the command again"


def _matching(
    group: str | None, topic: str | None, error: str | None, saying: str | None
) -> Callable[[DeadLetter], bool]:
    def matches(letter: DeadLetter) -> bool:
        return (
            group in {None, letter.group}
            and topic in {None, letter.original_topic}
            and (error is None or _is_of(error, letter.exception_class, letter.cause_class))
            and (saying is None or saying in (letter.exception_message or ""))
        )

    return matches


def _is_of(error: str, *classes: str | None) -> bool:
    return any(name == error or (name or "").endswith(f".{error}") for name in classes)


def _chosen(
    topic: str, matches: Callable[[DeadLetter], bool], most: int | None
) -> Iterator[DeadLetter]:
    count = 0
    for letter in list_dead_letters(topic):
        if count == most:
            return
        if matches(letter):
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


def _line(letter: DeadLetter) -> str:
    position = f"{letter.partition}/{letter.offset}"
    return f"{position} {_moment(letter)} {_place(letter)} {letter.group or '-'} {_error(letter)}"


def _show_table(letters: Iterator[DeadLetter]) -> None:
    table = Table("offset", "when", "from", "group", "replays", "error")
    for letter in letters:
        position = f"{letter.partition}/{letter.offset}"
        cells = (_moment(letter), _place(letter), letter.group or "-", letter.replays)
        table.add_row(position, *(Text(printable(str(cell))) for cell in (*cells, _error(letter))))
    out().print(table)


def _json(letter: DeadLetter) -> dict[str, Any]:
    """Return all fields of a dead letter for JSON."""
    fields = asdict(letter)
    for name in ("timestamp", "original_timestamp"):
        moment = fields[name]
        fields[name] = moment and moment.isoformat(timespec="milliseconds")
    fields["key"], fields["value"] = text_of(letter.key), text_of(letter.value)
    fields["headers"] = _json_headers(letter.headers)
    fields["original_headers"] = _json_headers(letter.original_headers)
    return {**fields, "replays": letter.replays}


def _json_headers(headers: Headers) -> list[list[Any]]:
    return [[name, text_of(value)] for name, value in headers]
