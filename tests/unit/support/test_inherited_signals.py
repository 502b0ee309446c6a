"""The tests pass as a background job and under nohup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.paths import PYTHONPATH

PROGRAM = """
import subprocess, sys
from support.inherited_signals import heed_signals
heed_signals()
child = "import signal, sys; signal.raise_signal(int(sys.argv[1]))"
print(subprocess.run([sys.executable, "-c", child, sys.argv[1]], stderr=-3).returncode)
"""


@pytest.mark.parametrize("name", ["INT", "QUIT", "HUP"])
def test_a_child_has_the_usual_effect_of_a_signal_that_the_starter_ignored(name):
    number = signal.Signals[f"SIG{name}"]
    command = [sys.executable, "-c", PROGRAM, str(int(number))]
    done = subprocess.run(
        ["sh", "-c", f"trap '' {name}; exec \"$@\"", "sh", *command],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(done.stdout) == -number
