"""What any page shows can be parsed, type-checked, loaded or typed.

That is the least; most pages have a test of their own that runs what they show.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from click import Context

from flowodm.cli.app import app as flowodm_app
from supervisor.cli.app import app as supervisor_app
from supervisor.config.toml import load_config
from support.docs.fenced_blocks import BLOCKS, PAGES, ROOT, FencedBlock, blocks_in

LANGUAGES = {
    *("console", "sh", "python", "toml", "yaml", "json", "ini", "promql", "properties"),
    *("dockerfile", "sql", "text"),
}
#: What another product's program looks like; it need not run here.
FOREIGN = "# before:"
#: A page's snippets are one program that goes on, and says again what it said before.
MYPY = """\
[mypy]
plugins = pydantic.mypy
check_untyped_defs = True
allow_redefinition = True
disable_error_code = no-redef, top-level-await, import-untyped, import-not-found
"""


def place(block: FencedBlock) -> str:
    return block.place


def each(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks_in(*languages), ids=place)


def test_every_fence_is_closed_and_names_its_language():
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * sum(block.page == page for block in BLOCKS), page
    assert {
        block.place: block.language for block in BLOCKS if block.language not in LANGUAGES
    } == {}


@each("python")
def test_python_can_be_parsed(block):
    compile(block.source, block.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_python_has_the_types_that_the_packages_ask_for(tmp_path):
    """Each page is a package: its files, and the rest of its snippets as one program."""
    programs: dict[Path, str] = {}
    for block in blocks_in("python"):
        if block.source.startswith(FOREIGN):
            continue
        folder = tmp_path / re.sub(r"\W", "_", str(block.page.relative_to(ROOT)))
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
        file = folder / (Path(block.file).name or "the_page.py")
        shown = f"# {block.place}\n{block.source}\n"
        programs[file] = programs.get(file, "from __future__ import annotations\n") + shown
    for file, text in programs.items():
        file.write_text(_as_part_of_its_page(text, file.parent, programs), encoding="utf-8")

    (tmp_path / "mypy.ini").write_text(MYPY, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--no-error-summary"),
            *(f"--cache-dir={ROOT / '.mypy_cache' / 'docs'}", "."),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert not done.stdout + done.stderr, done.stdout + done.stderr


def _as_part_of_its_page(text: str, folder: Path, programs: dict[Path, str]) -> str:
    """Imports of the page's other files lead there: two pages may have a shop.py."""
    ours = "|".join(file.stem for file in programs if file.parent == folder)
    return re.sub(rf"^( *from )(?:shop\.)?({ours})( import )", r"\1.\2\3", text, flags=re.MULTILINE)


@each("toml")
def test_toml_is_a_valid_configuration(block, tmp_path, monkeypatch):
    if block.file == "pyproject.toml":
        assert tomllib.loads(block.source)
        return
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    text = block.source
    for secret in re.findall(r'_file = "([^"]+)"', text):
        name = secret.rpartition("/")[2]
        (tmp_path / name).write_text("secret\n", encoding="utf-8")
        text = text.replace(secret, str(tmp_path / name))
    if "[consumers." not in text:
        text += '\n[consumers.orders]\nmodel = "shop:Order"\nhandler = "shop:handle"\n'
    file = tmp_path / "fleet.toml"
    file.write_text(text, encoding="utf-8")

    assert load_config(file)


@each("yaml", "json")
def test_yaml_and_json_can_be_parsed(block):
    parsed = json.loads if block.language == "json" else yaml.safe_load
    assert parsed(block.source) is not None


APPS = {
    "flowodm": typer.main.get_command(flowodm_app),
    "flowodm-supervisor": typer.main.get_command(supervisor_app),
}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
COMMANDS = (
    r"(?:^|[|(;]|&&|-- )\s*(?:\$ )?(?:\S*/bin/)?(flowodm-supervisor|flowodm|make) +([^|;)\n]*)"
)


def typed() -> Counter[str]:
    """Every command of ours in any shell block; a line that ends in a backslash goes on."""
    found: Counter[str] = Counter()
    for block in blocks_in("console", "sh"):
        lines = block.source.replace("\\\n", " ").splitlines()
        if block.language == "console":
            lines = [line for line in lines if line.startswith("$ ")]
        for line in lines:
            said = re.sub(r"\s#.*$", "", line)
            for name, rest in re.findall(COMMANDS, said):
                found[f"{name} {rest}".strip()] += 1
    return found


@pytest.mark.parametrize("command", sorted(typed()))
def test_a_command_has_what_is_typed(command):
    name, *words = shlex.split(re.sub(r"\s\d?[<>&].*$", "", command))
    if name == "make":
        assert {word for word in words if re.fullmatch("[a-z-]+", word)} <= TARGETS
        return
    _holds(APPS[name], name, words)


def _holds(command: Any, name: str, words: list[str]) -> None:
    """It takes these words: subcommands, options and the number of arguments."""
    context = Context(command, info_name=name, **command.context_settings)
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        _, unknown, _ = command.make_parser(context).parse_args(list(words))
        assert not unknown or context.allow_extra_args
        return
    options = {option for each in command.get_params(context) for option in each.opts}
    given = list(itertools.takewhile(lambda word: word.startswith("-"), words))
    assert set(given) <= options
    if rest := words[len(given) :]:
        assert rest[0] in subcommands
        _holds(subcommands[rest[0]], rest[0], rest[1:])


def test_commands_of_both_kinds_are_found():
    assert {"flowodm-supervisor check fleet.toml", "make demo"} <= set(typed())
