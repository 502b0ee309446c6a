"""Whatever a registry answers with the status 200: one error that names subject and address."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time

import pytest

from flowodm.exceptions import RegistryUnavailableError, SchemaRegistryError
from flowodm.registry import bounds
from flowodm.registry.bounds import MOST_BYTES, shown
from flowodm.registry.client import SchemaRegistry, UnusableSchemaError

SCHEMA = {"type": "record", "name": "R", "fields": []}
DEEP = "[" * 5_000 + "]" * 5_000


class RawServer:
    """Answers every request with the same bytes, all at once or one after the other."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(*self._socket.getsockname()[1:2])
        self.answer = b""
        self.pause = 0.0
        self.requests: list[str] = []
        self._ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def says(self, body: object, *headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(data)}", "Connection: close", *headers]
        self.answer = "\r\n".join([*lines, "", ""]).encode() + data

    def close(self) -> None:
        self._ended.set()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.requests.append(connection.recv(65536).split(b"\r\n")[0].decode())
            if not self.pause:
                connection.sendall(self.answer)
                return
            for index in range(len(self.answer)):
                connection.sendall(self.answer[index : index + 1])
                if self._ended.wait(self.pause):
                    return


@pytest.fixture
def server():
    running = RawServer()
    yield running
    running.close()


@pytest.fixture
def registry(server):
    made = SchemaRegistry({"url": f"http://{server.address}"})
    yield made
    made.close()


IDS = {"none": {}, "null": {"id": None}, "text": {"id": "7"}, "negative": {"id": -1}}
IDS |= {"huge": {"id": 2**31}, "a bool": {"id": True}, "a float": {"id": 1.5}, "0": {"id": 0}}


@pytest.mark.parametrize("body", IDS.values(), ids=IDS)
def test_a_registration_without_a_valid_id(server, registry, body):
    server.says(body)
    with pytest.raises(SchemaRegistryError, match="no valid id") as refused:
        registry.register("orders-value", SCHEMA)
    assert "orders-value" in str(refused.value)
    assert server.address in str(refused.value)


@pytest.mark.parametrize("body", IDS.values(), ids=IDS)
def test_a_lookup_or_a_latest_version_without_one(server, registry, body):
    server.says({"subject": "s", "version": 1, "schema": json.dumps(SCHEMA), **body})
    for ask in (lambda: registry.lookup("s", SCHEMA), lambda: registry.latest("s")):
        with pytest.raises(SchemaRegistryError, match="no valid id"):
            ask()


def test_what_was_wrong_is_asked_for_again(server, registry):
    server.says({"id": "7"})
    with pytest.raises(SchemaRegistryError):
        registry.register("s", SCHEMA)
    server.says({"id": 7})
    assert registry.register("s", SCHEMA) == 7


@pytest.mark.parametrize("body", [[], "text", 7, None, b"", b"no JSON", b"\xff"], ids=repr)
def test_an_answer_of_another_form(server, registry, body):
    server.says(body)
    for ask in (lambda: registry.schema(1), lambda: registry.register("s", SCHEMA)):
        with pytest.raises(SchemaRegistryError, match=server.address):
            ask()


def test_a_schema_that_nests_without_an_end(server, registry):
    server.says({"schema": DEEP})
    with pytest.raises(UnusableSchemaError, match=r"schema 1 of .* nests too deeply"):
        registry.schema(1)


def test_an_answer_that_nests_without_an_end(server, registry):
    server.says(DEEP.encode())
    with pytest.raises(SchemaRegistryError):
        registry.schema(1)


@pytest.mark.parametrize("version", ["abc", None, -1, 1.5])
def test_a_reference_to_what_is_no_version(server, registry, version):
    reference = {"name": "Other", "subject": "other", "version": version}
    server.says({"schema": json.dumps(SCHEMA), "references": [reference]})
    with pytest.raises(SchemaRegistryError, match=server.address):
        registry.schema(1)


def test_references_without_an_end(server, registry):
    """Each schema refers to another one."""
    references = [{"name": f"R{n}", "subject": f"s{n}", "version": 1} for n in range(150)]
    server.says(
        {
            "schema": json.dumps(SCHEMA),
            "references": references,
            "subject": "s",
            "version": 1,
            "id": 1,
        }
    )
    with pytest.raises(SchemaRegistryError, match="more than 100 schemas"):
        registry.schema(1)
    assert len(server.requests) <= 101


def test_an_answer_that_is_too_large(server, registry):
    server.says(b'{"schema": "' + b" " * MOST_BYTES + b'"}')
    with pytest.raises(SchemaRegistryError, match="larger than 8,388,608 bytes"):
        registry.schema(1)


def test_an_answer_that_unpacks_to_more_than_it_is(server, registry):
    server.says(gzip.compress(b" " * 100_000_000), "Content-Encoding: gzip")
    with pytest.raises(SchemaRegistryError, match="compressed"):
        registry.schema(1)


def test_an_answer_that_comes_byte_by_byte(server, registry, monkeypatch):
    monkeypatch.setattr(bounds, "ANSWER_TIMEOUT", 0.3)
    server.pause = 0.01
    server.says({"schema": json.dumps(SCHEMA) + " " * 10_000})
    began = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="longer than"):
        registry.schema(1)
    assert time.monotonic() - began < 10


def test_headers_that_come_byte_by_byte(server):
    """Each byte is in time, their number has a bound as well."""
    registry = SchemaRegistry({"url": f"http://{server.address}", "timeout": 0.25})
    server.pause = 0.05
    server.says({"schema": json.dumps(SCHEMA)}, f"X-Long: {'x' * 10_000}")
    began = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match=server.address):
        registry.schema(1)
    assert time.monotonic() - began < 10


def test_what_is_shown_of_an_answer_is_cut_and_escaped():
    assert shown("\x1b[31mred\nline") == "\\x1b[31mred\\nline"
    assert len(shown("x" * 10_000)) < 600
