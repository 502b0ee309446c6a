"""A real schema registry for tests: Apicurio, by its Confluent-compatible API."""

from __future__ import annotations

import http
import urllib.error
import urllib.request

from support.brokers import artifacts
from support.brokers.jvm import JvmServer

ANSWER_TIMEOUT = 2.0


class RegistryServer(JvmServer):
    """``with RegistryServer() as registry: connect(schema_registry_url=registry.url)``.

    It keeps its schemas in memory: after :meth:`restart` it is empty, and its ids begin at 1.
    """

    name = "registry"

    def __init__(self, *, heap: str = "400m") -> None:
        super().__init__(heap=heap)

    @property
    def url(self) -> str:
        """The base URL for clients of Confluent's registry."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def _prepare(self) -> None:
        artifacts.registry_application()

    def _arguments(self) -> list[str]:
        (jar,) = artifacts.registry_application().glob("apicurio-registry-app-*-runner.jar")
        return [
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self.port}",
            "-jar",
            str(jar),
        ]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=ANSWER_TIMEOUT) as answer:
                return bool(answer.status == http.HTTPStatus.OK)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
