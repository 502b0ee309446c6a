"""What every test may ask for: real brokers, topics and groups of its own, a clean process.

The brokers start when the first test asks for them and serve the whole session. A test marked
``kafka`` or ``registry`` is one that asks for them; the marker comes by itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import uuid
from typing import TYPE_CHECKING

import hypothesis
import pytest

from support.brokers import artifacts, records
from support.brokers.kafka_server import KafkaServer
from support.brokers.registry_server import RegistryServer
from support.inherited_signals import heed_signals
from support.programs import skip_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
# What flowodm.connect() reads: a developer's own Kafka is no business of the tests.
CONNECTION_VARIABLES = ("KAFKA_", "SCHEMA_REGISTRY_")

# No deadline: how long an example takes says more about the machine's load than about the code.
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.register_profile(
    "ci", deadline=None, max_examples=200, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "dev"))


def pytest_configure(config: pytest.Config) -> None:
    heed_signals()
    for name in list(os.environ):
        if name.startswith(CONNECTION_VARIABLES):
            del os.environ[name]
    if IN_CI and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List why tests were skipped, and the command that lets them run."""
    reports = terminalreporter.stats.get("skipped", [])
    lines = skip_summary(report.longrepr[2] for report in reports)
    if lines:
        terminalreporter.section("skipped tests")
    for line in lines:
        terminalreporter.write_line(line)


class FailuresAtOnce:
    """In CI a failure is printed when it happens: the summary may never come."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext}")


# Marker to what fetches its broker. A test asks for a broker by any fixture that is built on the
# one named <marker>_parts.
FETCHERS = {"kafka": artifacts.kafka_libraries, "registry": artifacts.registry_application}
WHY_MISSING = pytest.StashKey[dict[str, Exception]]()


# First, so that the markers are there when -m selects.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in FETCHERS:
            if f"{marker}_parts" in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


# Before the first test, so that no test's own time-out covers the download.
@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    missing = session.config.stash.setdefault(WHY_MISSING, {})
    if session.config.option.collectonly:
        return
    for marker, fetch in FETCHERS.items():
        # With several workers only those have items; the first one fetches, the others wait.
        items = getattr(session, "items", ())
        if any(item.get_closest_marker(marker) for item in items):
            try:
                artifacts.java()
                fetch()
            except Exception as error:  # noqa: BLE001 - here it would end pytest-xdist, not a test
                missing[marker] = error


def require_parts(config: pytest.Config, marker: str) -> None:
    """Skip where this machine cannot run that broker; in CI it is a failure."""
    error = config.stash[WHY_MISSING].get(marker)
    if error is None:
        return
    if not isinstance(error, artifacts.ArtifactsUnavailableError):
        raise error
    if IN_CI:
        pytest.fail(f"in CI no test may go without its broker: {error}", pytrace=False)
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka_parts(pytestconfig: pytest.Config) -> None:
    """Java and Kafka's jars."""
    require_parts(pytestconfig, "kafka")


@pytest.fixture(scope="session")
def registry_parts(pytestconfig: pytest.Config) -> None:
    """Java and the registry's jar."""
    require_parts(pytestconfig, "registry")


@pytest.fixture(scope="session")
def kafka_server(kafka_parts: None) -> Iterator[KafkaServer]:
    """The session's broker. Who stops, kills or configures one asks for new_kafka_server."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def new_kafka_server(kafka_parts: None) -> Iterator[Callable[..., KafkaServer]]:
    """``new_kafka_server(config=None) -> KafkaServer``: one for this test alone, started."""
    with contextlib.ExitStack() as servers:
        yield lambda config=None: servers.enter_context(KafkaServer(config))


@pytest.fixture(scope="session")
def kafka(kafka_server: KafkaServer) -> str:
    """The bootstrap servers of a real Kafka."""
    return kafka_server.bootstrap_servers


@pytest.fixture(scope="session")
def registry_server(registry_parts: None) -> Iterator[RegistryServer]:
    """The session's schema registry."""
    with RegistryServer() as server:
        yield server


@pytest.fixture(scope="session")
def registry(registry_server: RegistryServer) -> str:
    """The base URL of a real schema registry."""
    return registry_server.url


@pytest.fixture
def new_topic(kafka: str, request: pytest.FixtureRequest) -> Callable[..., str]:
    """``new_topic(partitions=4, config=None) -> name``: a topic of its own, with leaders."""
    test = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:60].strip("-")

    def create(partitions: int = 4, config: dict[str, str] | None = None) -> str:
        name = f"{test}-{uuid.uuid4().hex[:8]}"
        records.create_topic(kafka, name, partitions, config)
        return name

    return create


@pytest.fixture
def topic(new_topic: Callable[..., str]) -> str:
    """The name of an empty topic of four partitions."""
    return new_topic()


@pytest.fixture
def group() -> str:
    """A consumer group's id that nobody has used."""
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def _no_connection_from_another_test() -> Iterator[None]:
    """Close the process's one connection after each test that may have used it."""
    yield
    if module := sys.modules.get("flowodm.connection"):
        module.get_kafka_connection().reset()
