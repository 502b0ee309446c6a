"""From a TOML file to a `SupervisorConfig`, or to every problem that it has, all at once."""

from __future__ import annotations

import difflib
import json
import os
import re
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from supervisor.config.config import SupervisorConfig, SupervisorTable
from supervisor.config.consumer import ConsumerTable, RestartTable
from supervisor.config.defaults import DefaultsTable
from supervisor.config.kafka import KafkaTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]
LONGEST_SHOWN = 60
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$\{)|\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\{))"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration.

    Attributes:
        key: Dotted path of the key, or "line 3, column 7" where the TOML itself cannot be read.
        what: What is wrong there.
        hint: What to write instead; "" where nobody can know.
    """

    key: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.what}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(Exception):
    """A configuration is not valid.

    Attributes:
        source: The file.
        problems: All that is wrong with it.
    """

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


def load_config(
    path: str | os.PathLike[str], environment: Mapping[str, str] | None = None
) -> SupervisorConfig:
    """Read and validate a configuration file.

    `${NAME}` and `${NAME:-default}` in values are taken from the environment (`$${` is a plain
    `${`); HOSTNAME is there even if nobody exported it. A secret NAME may be given as
    NAME_file, relative to the configuration file's folder.

    Args:
        path: The TOML file.
        environment: In place of the process's environment.

    Raises:
        ConfigError: With every problem at once.
    """
    file = Path(path)
    if environment is None:
        environment = {"HOSTNAME": socket.gethostname(), **os.environ}
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        written = tomllib.loads(text)
        return _Reading(file, written, environment).config()
    except tomllib.TOMLDecodeError as error:
        problem = _syntax(str(error), text)
    except OSError as error:
        problem = Problem("file", f"cannot be read: {error.strerror}", "check the path")
    except UnicodeDecodeError:
        problem = Problem("file", "is not UTF-8", "save it as UTF-8")
    except RecursionError:
        problem = Problem("file", "is nested too deeply", "no key needs more than a few levels")
    except ValueError as error:  # such as a number of thousands of digits
        problem = Problem("file", f"cannot be read: {error}")
    raise ConfigError(str(file), (problem,))


def _syntax(message: str, text: str) -> Problem:
    what, _, place = message.rpartition(" (at ")
    if not what:
        return Problem("TOML", message)
    if what == "Cannot overwrite a value" and (line := re.match(r"line (\d+)", place)):
        # tomllib tells where the value ends. What is before "=" is the key, and no secret.
        key, equals, _ = text.split("\n")[int(line[1]) - 1].partition("=")
        named = f"{key.strip()} is" if equals else "the key of the value that ends here is"
        return Problem(place.removesuffix(")"), f"{named} there already", "keep one of the two")
    return Problem(place.removesuffix(")"), f"this is not TOML: {what[0].lower()}{what[1:]}")


class _Reading:
    """One configuration on its way from what is written to what it means."""

    def __init__(self, file: Path, written: dict[str, Any], environment: Mapping[str, str]) -> None:
        self._file = file
        self._written = written
        self._environment = environment
        self._problems: list[Problem] = []
        self._unread: set[KeyPath] = set()
        """Keys whose value could not be made out; what the model says of them is noise."""

    def config(self) -> SupervisorConfig:
        expanded = self._expand(self._written, ())
        for path in (("kafka",), *(("consumers", name, "kafka") for name in _names(expanded))):
            kafka = _found(expanded, path)
            if isinstance(kafka, dict):
                self._read_secrets(kafka, path)
        config = None
        try:
            config = SupervisorConfig.model_validate(expanded)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            # Where [defaults] are wrong, nothing was taken over, and some keys seem alone.
            alone = any(details["loc"][0] == "defaults" for details in errors)
            self._problems += [
                _problem(details, self._written)
                for details in errors
                if details["loc"] not in self._unread
                and not (alone and details["type"] == "without_effect")
            ]
        if config is None or self._problems:
            raise ConfigError(str(self._file), tuple(self._problems)) from None
        return config

    def _expand(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: self._expand(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expand(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        missing = list(_missing(value, self._environment))
        self._problems += [Problem(key_path(path), *what) for what in missing]
        if missing:
            self._unread.add(path)
            return value
        return _VARIABLE.sub(lambda match: _value(match, self._environment), value)

    def _read_secrets(self, kafka: dict[str, Any], table: KeyPath) -> None:
        for name, field in KafkaTable.model_fields.items():
            key = f"{name}_file"
            if SecretStr not in get_args(field.annotation) or key not in kafka:
                continue
            file, path = kafka.pop(key), (*table, key)
            if name in kafka:
                hint = "keep one of the two"
                self._problems.append(Problem(key_path(path), f"contradicts {name}", hint))
            elif not isinstance(file, str):
                self._problems.append(Problem(key_path(path), "is not a path"))
            elif path not in self._unread:
                try:
                    text = (self._file.parent / file).read_text(encoding="utf-8")
                    kafka[name] = text.rstrip("\r\n")
                except (OSError, ValueError) as error:
                    utf8 = isinstance(error, UnicodeDecodeError)
                    reason = "it is not UTF-8" if utf8 else getattr(error, "strerror", str(error))
                    hint = "name a file that the supervisor's user can read"
                    what = f"cannot be read from {file}: {reason}"
                    self._problems.append(Problem(key_path(path), what, hint))


def _missing(text: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for match in _VARIABLE.finditer(text):
        name = match["name"]
        if match["broken"]:
            yield "has a ${ that names no variable", "write ${NAME}, or $${ for a plain ${"
        elif name and match["default"] is None and name not in environment:
            yield (
                f"the environment variable {name} is not set",
                f"set it, or write ${{{name}:-default}}",
            )


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "${"
    value = environment.get(match["name"], "")
    if match["default"] is not None and not value:  # as in a shell: empty counts as not set
        return match["default"]
    return value


def key_path(path: KeyPath) -> str:
    """A key's path as TOML would write it: consumers.orders.partition_groups[0]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else json.dumps(part))
    return text or "file"


def _names(tables: dict[str, Any]) -> list[str]:
    consumers = tables.get("consumers")
    return list(consumers) if isinstance(consumers, dict) else []


def _found(tables: Any, path: KeyPath) -> Any:
    """What is written there, or None."""
    for part in path:
        try:
            tables = tables[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tables


def _problem(details: ErrorDetails, written: Any) -> Problem:
    path = tuple(part for part in details["loc"] if part != "[key]")
    key, last = key_path(path), str(path[-1])
    if details["type"] == "extra_forbidden":
        return Problem(key, "is an unknown key", _did_you_mean(last, path[:-1]))
    if details["type"] == "missing" and last == "consumers":
        return Problem(key, "is missing", "write at least one [consumers.NAME]")
    if details["type"] == "missing":
        return Problem(key, "is missing", _example(path))
    if "[key]" in details["loc"]:
        hint = "use letters, digits, dots, dashes and underscores"
        return Problem(key, "is no name for a consumer", hint)
    what = details["msg"].removeprefix("Input ")
    hint = (details.get("ctx") or {}).get("hint") or _example(path)
    if _found(written, path) is None and _found(written, ("defaults", *path[2:])) is not None:
        what += " (it comes from [defaults])"
    # What stands under [kafka] may be a secret in the wrong place.
    shown = "" if "kafka" in path else _shown(path, written)
    return Problem(key, f"{shown}{what[0].lower()}{what[1:]}", hint)


_TABLES: dict[str, type[BaseModel]] = {
    "[]": SupervisorConfig,
    "[supervisor]": SupervisorTable,
    "[kafka]": KafkaTable,
    "[consumers.NAME]": ConsumerTable,
    "[consumers.NAME.restart]": RestartTable,
    "[consumers.NAME.kafka]": KafkaTable,
    "[defaults]": DefaultsTable,
    "[defaults.restart]": RestartTable,
}


def _table(path: KeyPath) -> type[BaseModel] | None:
    """The model of the table at this path."""
    named = len(path) > 1 and path[0] == "consumers"
    parts = ("consumers", "NAME", *path[2:]) if named else path
    return _TABLES.get(f"[{'.'.join(map(str, parts))}]")


def _did_you_mean(key: str, path: KeyPath) -> str:
    table = _table(path)
    known = list(table.model_fields) if table else []
    for name, other in _TABLES.items():
        if key in other.model_fields:
            return f"it belongs in {name}" if name != "[]" else f"it belongs at the top: [{key}]"
    if close := difflib.get_close_matches(key, known, n=1):
        return f'did you mean "{close[0]}"?'
    if table is KafkaTable:
        return "librdkafka's own properties go in [kafka.options], in quotes if they have dots"
    return f"known here: {', '.join(known)}" if known else "remove it"


def _example(path: KeyPath) -> str:
    table = _table(path[:-1])
    field = table.model_fields.get(str(path[-1])) if table else None
    if field is None or not field.examples:
        return ""
    return f"write it as in {path[-1]} = {json.dumps(field.examples[0])}"


def _shown(path: KeyPath, written: Any) -> str:
    """The value as it is written, before any variable was replaced, if it is short enough."""
    value = _found(written, path)
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"{text} " if len(text) <= LONGEST_SHOWN else ""
