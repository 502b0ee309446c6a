"""What the environment asks of the demo is refused before anything starts."""

from __future__ import annotations

import pytest

from supervisor.demo.show import main


@pytest.mark.parametrize("text", ["soon", "-1", "0", "inf", "nan"])
def test_a_wrong_number_of_seconds(text, monkeypatch, capfd):
    monkeypatch.setenv("DEMO_SECONDS", text)
    assert main() == 2
    reason = f"DEMO_SECONDS={text} is not a number of seconds; write it as in DEMO_SECONDS=15"
    assert capfd.readouterr() == ("", f"the demo failed: {reason}\n")


@pytest.mark.parametrize("text", ["http", "0", "65536"])
def test_a_wrong_port(text, monkeypatch, capfd):
    monkeypatch.setenv("DEMO_PORT", text)
    assert main() == 2
    reason = f"DEMO_PORT={text} is not a port; write it as in DEMO_PORT=9108"
    assert capfd.readouterr() == ("", f"the demo failed: {reason}\n")
