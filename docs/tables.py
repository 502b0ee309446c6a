"""The tables of the pages that are made from the code; `make reference` writes them anew.

A page holds a table between ``<!-- table: NAME -->`` and ``<!-- end table -->``.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from flowodm import ConsumerLoop
from flowodm.consumer.options.declaration import LONGEST, Range
from flowodm.consumer.options.help import default_in_words
from flowodm.consumer.options.keywords import SyncOptions
from flowodm.consumer.options.loop_options import OPTIONS
from supervisor.config.consumer import ConsumerTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flowodm.consumer.options.declaration import Option

FOLDER = Path(__file__).parent
PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end table -->)", re.DOTALL)
OTHER_KEYS = {
    "partitions": "`partition_groups`, `partitions_per_worker`",
    "group_instance_id": "`membership`",
    "consumer_config": "`kafka.options`",
    "observers": "none",
    "handle_signals": "none",
}
"""The options that a consumer's table in TOML has under another name, or not at all."""
OTHER_TYPES = {
    "Handler": "function",
    "StartFrom": "`str`, `datetime`, `int`, `dict`",
    "Mapping[str, Any]": "`dict`",
}
"""Types whose names say little to a reader."""


def loop_options() -> str:
    """Return the table of all options of the loops."""
    head = ("option", "loops", "type", "default", "unit", "meaning", "TOML key, if another")
    rows = [
        (
            f"`{name}`",
            "async" if option.async_only else "both",
            _type(name, option),
            _default(option),
            option.unit,
            option.meaning,
            _toml_key(name),
        )
        for name, option in OPTIONS.items()
    ]
    return table(head, rows)


def _type(name: str, option: Option) -> str:
    if option.choices is not None:
        return ", ".join(f'`"{choice.value}"`' for choice in option.choices)
    if option.called_with is not None:
        return "function"
    kind = _argument_types()[name].removesuffix(" | None")
    words = OTHER_TYPES.get(kind, f"`{kind}`")
    if option.allowed is None:
        return words
    least, most = option.allowed.least, option.allowed.most
    if most is None or most == LONGEST:
        return f"{words}, {Range(least, above=option.allowed.above)}"
    return f"{words}, {least} to {most}"


def _argument_types() -> dict[str, str]:
    named = inspect.signature(ConsumerLoop).parameters
    more = SyncOptions.__annotations__
    return {
        **{name: parameter.annotation for name, parameter in named.items()},
        **{name: hint.__forward_arg__ for name, hint in more.items()},
    }


def _default(option: Option) -> str:
    sync, aio = (_default_of(option, for_async=for_async) for for_async in (False, True))
    return sync if sync == aio else f"{sync}; async: {aio}"


def _default_of(option: Option, *, for_async: bool) -> str:
    words = default_in_words(option, for_async=for_async)
    if option.default_words or words == "none":
        return words
    return f"`{words}`" if words else "required"


def _toml_key(name: str) -> str:
    if name in OTHER_KEYS:
        return OTHER_KEYS[name]
    if name not in ConsumerTable.model_fields:
        raise KeyError(f"[consumers.NAME] has no key {name}: say in OTHER_KEYS what it has")
    return ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


TABLES: dict[str, Callable[[], str]] = {"loop-options": loop_options}
"""What makes the table of each name."""


def renewed(text: str) -> str:
    """Return a page's text with its tables as the code makes them now."""
    return PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n\n{place[3]}", text)


def main() -> None:
    """Write all pages that have tables anew."""
    for page in sorted(FOLDER.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
