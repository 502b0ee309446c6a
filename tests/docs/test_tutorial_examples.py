"""docs/tutorial.md: typed from top to bottom, it does what it says, on either kind of broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowodm.testing import EmbeddedBroker
from support.brokers.jvm import free_port
from support.brokers.records import create_topic
from support.commands.terminal import Terminal, steps_of
from support.docs.fenced_blocks import fenced_blocks

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
INSTALLING, *BLOCKS = fenced_blocks(PAGE)


@pytest.fixture(params=["embedded", "real"])
def broker(request):
    """The one that the tutorial starts, or a reader's own."""
    if request.param == "embedded":
        with EmbeddedBroker() as embedded:
            yield embedded.bootstrap_servers
    else:
        kafka = request.getfixturevalue("new_kafka_server")().bootstrap_servers
        for topic in ("orders", "orders.DLT"):
            create_topic(kafka, topic, 4)
        yield kafka


@pytest.mark.timeout(240)
def test_every_step_prints_what_is_shown(broker, tmp_path):
    port = f"{free_port()}"
    with Terminal(tmp_path, KAFKA_BOOTSTRAP_SERVERS=broker) as terminal:
        for block in BLOCKS:
            source = block.source.replace("9108", port)
            if block.language == "console":
                for step in steps_of(source):
                    terminal.types(step)
            elif block.file == "fleet.toml":  # beside other fleets of this machine
                own = f'[supervisor]\nhttp = "127.0.0.1:{port}"\ninstance_id = "tutorial-{port}"\n'
                (tmp_path / block.file).write_text(own + source)
            else:
                (tmp_path / block.file).write_text(source)
        (fleet,) = terminal.background
        assert fleet.wait(30) == 0


def test_what_is_installed_first_is_this():
    assert INSTALLING.source.splitlines()[1:] == [
        "pip install flowodm-supervisor pytest",
        "flowodm dev-broker bash",
    ]
