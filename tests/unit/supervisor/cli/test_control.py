"""What the commands that wait for a change make of what the supervisor tells."""

from __future__ import annotations

import itertools

import pytest
from typer.testing import CliRunner

from supervisor.cli import control as cli_control
from supervisor.cli.app import app


@pytest.mark.parametrize(
    ("given_up", "status", "said"),
    [
        (None, 0, ""),
        (
            "orders/0: is not at work after 60 s",
            5,
            "the rest of the change was given up: orders/0: ",
        ),
    ],
)
def test_a_change_that_is_given_up_is_an_exit_status(monkeypatch, tmp_path, given_up, status, said):
    states = itertools.chain([True, True], itertools.repeat(False))
    leaving = itertools.chain([0, 0, 1], itertools.repeat(0))

    def ask(_path, method, _what, **_arguments):
        if method == "POST":
            return {"replaced": ["orders/0", "orders/1"]}
        return {"changing": next(states), "leaving": next(leaving), "given_up": given_up}

    monkeypatch.setattr(cli_control, "ask", ask)
    monkeypatch.setattr(cli_control, "WAIT", 0)

    done = CliRunner().invoke(app, ["restart", "--socket", str(tmp_path / "control"), "--wait"])

    assert done.exit_code == status
    assert done.stdout == "replaced: orders/0, orders/1\n"
    assert said in done.stderr
