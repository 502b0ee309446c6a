"""docs/man: the manual pages have what the commands have, and formatters have nothing to say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from flowodm.cli.app import app as flowodm_app
from flowodm.cli.process import ExitStatus as FlowodmStatus
from supervisor.cli.app import app as supervisor_app
from supervisor.report import ExitStatus as SupervisorStatus
from support.programs import needs

FOLDER = Path(__file__).parents[2] / "docs" / "man"
PAGES = sorted(FOLDER.glob("*.[15]"))
COMMANDS = {
    "flowodm": (flowodm_app, FlowodmStatus, {130}),
    "flowodm-supervisor": (supervisor_app, SupervisorStatus, {74, 130}),
}


def made():
    """What docs/man/generate.py makes now."""
    spec = importlib.util.spec_from_file_location("man_generate", FOLDER / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.pages()


def test_the_pages_are_what_the_code_says_now():
    for file, text in made().items():
        assert file.read_text(encoding="utf-8") == text, f"{file}: run `make reference`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@needs("mandoc")
def test_mandoc_has_nothing_to_say(page):
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False
    )

    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@needs("man")
def test_man_shows_it_without_a_warning(page):
    done = subprocess.run(
        ["man", "--warnings", "-l", page],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MANWIDTH": "80"},
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "NAME" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_option_and_exit_status_is_there(name):
    app, statuses, more = COMMANDS[name]
    text = (FOLDER / f"{name}.1").read_text(encoding="utf-8").replace("\\-", "-")

    def needed(command):
        for sub, each in getattr(command, "commands", {}).items():
            assert re.search(rf'^\.SS "(\S+ )?{sub}', text, re.MULTILINE), sub
            needed(each)
        for param in command.params:
            assert all(option in text for option in param.opts if option.startswith("--")), param

    needed(typer.main.get_command(app))
    section = text.partition('.SH "EXIT STATUS"')[2].partition(".SH")[0]
    listed = {int(number) for number in re.findall(r"^\\fB(\d+)\\fR$", section, re.MULTILINE)}
    assert listed == {int(status) for status in statuses} | more


@pytest.mark.parametrize(
    ("name", "words", "found"),
    [
        ("flowodm-supervisor", "flowodm-supervisor re", {"reload", "restart", "resume"}),
        ("flowodm-supervisor", "flowodm-supervisor restart --w", {"--wait"}),
        ("flowodm", "flowodm dead-letters ", {"list", "replay"}),
    ],
)
@pytest.mark.parametrize(
    ("shell", "word"), [("bash", r"^(\S+)$"), ("zsh", r'"(\S+)":'), ("fish", r"^(\S+)\t")]
)
def test_a_shell_completes_what_is_typed(name, words, found, shell, word):
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    module = {"flowodm": "flowodm.cli", "flowodm-supervisor": "supervisor.__main__"}[name]
    # Click derives the variable's name from that of the program.
    program = f"import sys; sys.argv[0] = {name!r}; from {module} import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            variable: f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": words,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
    )

    assert set(re.findall(word, done.stdout, re.MULTILINE)) == found, done.stdout + done.stderr
