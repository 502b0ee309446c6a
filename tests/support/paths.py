"""Where the tests' modules lie, for the processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
"""The repository."""
SHOPS = TESTS / "support" / "shops"
"""Programs: models and handlers, named by a fleet's configuration as `shop:Order`."""
PYTHONPATH = os.pathsep.join((str(TESTS), str(SHOPS)))
