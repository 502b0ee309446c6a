"""docs/testing.md: its examples are a suite that passes, typed as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_the_examples_pass_as_one_suite(tmp_path):
    (conftest,) = [block for block in BLOCKS if block.startswith("pytest_plugins")]
    suite = [block for block in BLOCKS if block is not conftest]
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_shop.py").write_text("\n\n".join(suite))
    expected = sum(
        len(re.findall(r"^(?:async )?def test_", block, re.MULTILINE)) for block in suite
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert f"{expected} passed" in done.stdout, done.stdout + done.stderr
    assert expected == 11


def test_everything_that_is_public_is_mentioned():
    code = "import flowodm.testing as t; print(*t.__all__)"
    names = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    # What only comes back from a call, or is raised.
    results = {"Attempt", "Fate", "Fault", "LoopResult", "RegistryRequest", "WrongAnswer"}

    assert [n for n in names if n not in TEXT and n not in results | {"BrokerError"}] == []
