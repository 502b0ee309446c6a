from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.commands.flowodm_command import CommandHost, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def command_host() -> Iterator[CommandHost]:
    """Where the command `flowodm` runs."""
    with CommandHost() as host:
        yield host


@pytest.fixture
def shop(command_host: CommandHost, tmp_path: Path) -> Shop:
    """A folder with a model, and no Kafka."""
    return Shop(command_host, tmp_path)
