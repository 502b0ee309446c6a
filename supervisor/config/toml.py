"""Reading a TOML file: to a `SupervisorConfig`, or to every problem that it has, all at once."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import SecretStr, ValidationError

from supervisor.config.config import SupervisorConfig
from supervisor.config.kafka import KafkaTable
from supervisor.config.problems import (
    ConfigError,
    KeyPath,
    Problem,
    key_path,
    problems_of,
    value_at,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$\{)|\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\{))"
)


def load_config(
    path: str | os.PathLike[str], environment: Mapping[str, str] | None = None
) -> SupervisorConfig:
    """Read and validate a configuration file.

    `${NAME}` and `${NAME:-default}` in values are replaced from the environment (`$${` is a plain
    `${`); HOSTNAME is always there. A secret NAME may be given as NAME_file, a path relative to
    the configuration file's folder.

    Args:
        path: The TOML file.
        environment: Instead of the process's environment.

    Raises:
        ConfigError: The file is not valid; it has every problem at once.
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
    """Explain tomllib's message, "WHAT (at line 2, column 3)"."""
    what, _, place = message.rpartition(" (at ")
    if not what:
        return Problem("TOML", message)
    place = place.removesuffix(")")
    if what == "Cannot overwrite a value" and (line := re.match(r"line (\d+)", place)):
        # tomllib tells where the value ends. The text before "=" is the key, and not a secret.
        key, equals, _ = text.split("\n")[int(line[1]) - 1].partition("=")
        subject = f"{key.strip()} is" if equals else "the key of the value that ends here is"
        return Problem(place, f"{subject} set twice", "keep one of the two")
    return Problem(place, f"is not TOML: {what[0].lower()}{what[1:]}")


class _Reading:
    """Reads one configuration: variables, files of secrets, then the model."""

    def __init__(self, file: Path, written: dict[str, Any], environment: Mapping[str, str]) -> None:
        self._file = file
        self._written = written
        self._environment = environment
        self._problems: list[Problem] = []
        self._unread: set[KeyPath] = set()
        """Keys whose value could not be read; what the model says of them is noise."""

    def config(self) -> SupervisorConfig:
        """Return the configuration.

        Raises:
            ConfigError: It is not valid.
        """
        tables = self._expand(self._written, ())
        for path in _kafka_tables(tables):
            kafka = value_at(tables, path)
            if isinstance(kafka, dict):
                self._read_secrets(kafka, path)
        try:
            config = SupervisorConfig.model_validate(tables)
        except ValidationError as error:
            self._problems += problems_of(error, self._written, self._unread)
        else:
            if not self._problems:
                return config
        raise ConfigError(str(self._file), tuple(self._problems)) from None

    def _expand(self, value: Any, path: KeyPath) -> Any:
        """Replace the variables in a value and all below it."""
        if isinstance(value, dict):
            return {key: self._expand(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expand(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        missing = list(_missing(value, self._environment))
        self._problems += [Problem(key_path(path), what, hint) for what, hint in missing]
        if missing:
            self._unread.add(path)
            return value
        return _VARIABLE.sub(lambda match: _replacement(match, self._environment), value)

    def _read_secrets(self, kafka: dict[str, Any], table: KeyPath) -> None:
        """Replace each NAME_file by NAME with the content of the file."""
        for name, field in KafkaTable.model_fields.items():
            key = f"{name}_file"
            if SecretStr not in get_args(field.annotation) or key not in kafka:
                continue
            file, path = kafka.pop(key), (*table, key)
            if name in kafka:
                self._complain(path, f"contradicts {name}", "keep one of the two")
            elif not isinstance(file, str):
                self._complain(path, "is not a path")
            elif path not in self._unread:
                self._read_secret(kafka, name, file, path=path)

    def _read_secret(self, kafka: dict[str, Any], name: str, file: str, *, path: KeyPath) -> None:
        try:
            text = (self._file.parent / file).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            reason = "it is not UTF-8"
        except OSError as error:
            reason = str(error.strerror)
        except ValueError as error:  # such as a null byte in the path
            reason = str(error)
        else:
            kafka[name] = text.rstrip("\r\n")
            return
        hint = "name a file that the supervisor's user can read"
        self._complain(path, f"cannot be read from {file}: {reason}", hint)

    def _complain(self, path: KeyPath, what: str, hint: str = "") -> None:
        self._problems.append(Problem(key_path(path), what, hint))


def _kafka_tables(tables: dict[str, Any]) -> list[KeyPath]:
    """Return the paths where [kafka] and those of consumers may be."""
    consumers = tables.get("consumers")
    names = consumers if isinstance(consumers, dict) else ()
    return [("kafka",), *(("consumers", name, "kafka") for name in names)]


def _missing(text: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield for each variable that cannot be replaced what is wrong, and what to write."""
    for match in _VARIABLE.finditer(text):
        name = match["name"]
        if match["broken"]:
            yield "has a ${ without the name of a variable", "write ${NAME}, or $${ for a plain ${"
        elif name and match["default"] is None and name not in environment:
            yield (
                f"the environment variable {name} is not set",
                f"set it, or write ${{{name}:-default}}",
            )


def _replacement(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "${"
    value = environment.get(match["name"], "")
    if match["default"] is not None and not value:  # as in a shell: empty counts as not set
        return match["default"]
    return value
