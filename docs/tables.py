"""The tables of the pages that are made from the code; `make reference` writes them anew.

A page holds a table between ``<!-- table: NAME -->`` and ``<!-- end table -->``.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import griffe

from flowodm import BaseSettings, ConsumerLoop, settings
from flowodm.consumer.options.declaration import LONGEST, Range
from flowodm.consumer.options.help import default_in_words
from flowodm.consumer.options.keywords import SyncOptions
from flowodm.consumer.options.loop_options import OPTIONS
from flowodm.model_settings import ModelSettings
from supervisor.config.consumer import PROFILES, ConsumerTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from dataclasses import Field

    from flowodm.consumer.options.declaration import Option

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))
import file_map  # noqa: E402 - it lies beside this script

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


def model_settings() -> str:
    """Return the table of what a model's inner class Settings may hold."""
    return table(("setting", "type", "default", "meaning"), _fields(ModelSettings))


def profiles() -> str:
    """Return the table of the settings profiles with their values."""
    names = [field.name for field in fields(BaseSettings) if field.name != "extra_config"]
    head = ("profile", "in TOML", "for", *(f"`{name}`" for name in names))
    rows = []
    for short_name, class_name in PROFILES.items():
        profile = getattr(settings, class_name)
        purpose = inspect.cleandoc(profile.__doc__).splitlines()[0]
        values = [f"`{_literal(getattr(profile(), name))}`" for name in names]
        rows.append((f"`{class_name}`", f'`"{short_name}"`', purpose, *values))
    return table(head, rows)


def profile_settings() -> str:
    """Return the table of a profile's fields; the defaults are those of BaseSettings."""
    return table(("setting", "type", "default", "meaning"), _fields(BaseSettings))


def _fields(cls: type) -> list[tuple[str, str, str, str]]:
    """Return name, type, default and meaning of a dataclass's fields.

    The meaning is the string below a field, which exists only in the source.
    """
    declared = griffe.load(cls.__module__)[cls.__name__].attributes
    rows = []
    for field in fields(cls):
        meaning = declared[field.name].docstring
        if meaning is None:
            raise KeyError(f"{cls.__name__}.{field.name} has no string below it with its meaning")
        words = " ".join(meaning.value.split()).replace("``", "`")
        rows.append((f"`{field.name}`", f"`{field.type}`", _default_value(field), words))
    return rows


def _default_value(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        return f"`{_literal(field.default_factory())}`"
    if field.default is MISSING:
        return "required"
    return "none" if field.default is None else f"`{_literal(field.default)}`"


def _literal(value: object) -> str:
    """Return a value as Python code, with double quotes and separated thousands."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}"
    return repr(value)


def files(package: str) -> str:
    """Return the map of a package's folders and files."""
    return table(("folder or file", "what it holds", "may import"), file_map.rows(package))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


TABLES: dict[str, Callable[[], str]] = {
    "loop-options": loop_options,
    "model-settings": model_settings,
    "profiles": profiles,
    "profile-settings": profile_settings,
    "files-flowodm": partial(files, "flowodm"),
    "files-supervisor": partial(files, "supervisor"),
}
"""What makes the table of each name."""


def renewed(text: str) -> str:
    """Return a page's text with its tables as the code makes them now."""
    return PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n\n{place[3]}", text)


def pages() -> list[Path]:
    """Return the pages that may hold tables."""
    return [*sorted(FOLDER.glob("*.md")), FOLDER.parent / "ARCHITECTURE.md"]


def main() -> None:
    """Write all pages that have tables anew."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
