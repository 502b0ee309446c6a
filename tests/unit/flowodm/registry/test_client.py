"""What the registry's answers, and its silence, mean: against an HTTP server on loopback."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from flowodm.avro.codec import Codec
from flowodm.exceptions import (
    ConfigurationError,
    RegistryUnavailableError,
    SchemaCompatibilityError,
    SchemaRegistryError,
)
from flowodm.registry import client as registry_module
from flowodm.registry import registration
from flowodm.registry.client import SchemaRegistry, UnknownSchemaIdError, UnusableSchemaError
from flowodm.registry.properties import REQUEST_TIMEOUT
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = {"type": "record", "name": "X", "fields": []}


class Server(ThreadingHTTPServer):
    """Gives every request the same answer, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.body: Any = {"schema": json.dumps(SCHEMA)}
        self.requests: list[str] = []
        self.silent = threading.Event()
        self.speak = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.silent.is_set():
            self.server.speak.wait(30)
            if self.server.silent.is_set():
                return
        body = self.server.body
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.speak.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def registry(server: Server) -> Iterator[SchemaRegistry]:
    registry = SchemaRegistry({"url": server.url, "timeout": 0.5})
    yield registry
    registry.close()


def test_a_schema_is_asked_for_once_by_many_threads(server, registry, monkeypatch):
    monkeypatch.setattr(registration, "READ_LOCK_TIMEOUT", 30)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(registry.schema, [3] * 32))
    assert answers == [SCHEMA] * 32
    assert server.requests == ["GET /schemas/ids/3"]


def test_who_waits_for_anothers_question_gives_up_before_it_is_answered(
    server, registry, monkeypatch
):
    """So that one thread of many is held up by a silent registry."""
    monkeypatch.setattr(registration, "READ_LOCK_TIMEOUT", 0.02)
    server.silent.set()
    patient = SchemaRegistry({"url": server.url, "timeout": 30, "max.retries": 3})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(patient.schema, 3)
        wait_until(lambda: server.requests, 10, "the first has asked")
        for _ in range(3):
            with pytest.raises(RegistryUnavailableError, match="schema 3: another thread"):
                patient.schema(3)
        server.silent.clear()
        server.speak.set()
        assert first.result(30) == SCHEMA
    assert patient.schema(3) == SCHEMA
    assert set(server.requests) == {"GET /schemas/ids/3"}
    patient.close()


def test_threads_that_write_at_once_do_not_wait_for_each_others_questions(
    server, registry, monkeypatch
):
    """A silent registry would keep the last of many for as long as all of them together."""

    class Event(BaseModel):
        n: int

    monkeypatch.setattr(registration, "WRITE_LOCK_TIMEOUT", 0.02)
    server.silent.set()
    patient = SchemaRegistry({"url": server.url, "timeout": 30})
    codec = Codec(Event, subject="events-value", registry=patient)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(codec.encode, Event(n=1))
        wait_until(lambda: server.requests, 10, "the first has asked")
        for _ in range(3):
            with pytest.raises(RegistryUnavailableError, match="events-value: another thread"):
                codec.encode(Event(n=2))
        server.body = {"id": 9}
        server.silent.clear()
        server.speak.set()
        assert first.result(30) == b"\x00\x00\x00\x00\x09\x02"
    assert codec.encode(Event(n=2)) == b"\x00\x00\x00\x00\x09\x04"
    assert len(server.requests) == 1
    patient.close()


def test_a_schema_is_registered_once_and_known_by_its_id(server, registry):
    server.body = {"id": 9}
    assert [registry.register("s-value", SCHEMA) for _ in range(3)] == [9, 9, 9]
    assert registry.schema(9) == SCHEMA
    assert [request.split("?")[0] for request in server.requests] == [
        "POST /subjects/s-value/versions"
    ]


def test_an_unknown_id_is_asked_for_once_a_while(server, registry, monkeypatch):
    server.status, server.body = 404, {"error_code": 40403, "message": "Schema not found"}
    for _ in range(3):
        with pytest.raises(UnknownSchemaIdError, match="no schema with id 8"):
            registry.schema(8)
    assert len(server.requests) == 1
    now = registry_module.time.monotonic()
    monkeypatch.setattr(registry_module.time, "monotonic", lambda: now + 61)
    server.status, server.body = 200, {"schema": json.dumps(SCHEMA)}
    assert registry.schema(8) == SCHEMA


def test_what_is_remembered_of_unknown_ids_is_bounded(server, registry, monkeypatch):
    server.status, server.body = 404, {"error_code": 40403, "message": "Schema not found"}
    monkeypatch.setattr(registry_module, "_MOST_UNUSABLE_IDS", 5)
    for schema_id in range(12):
        with pytest.raises(UnknownSchemaIdError):
            registry.schema(schema_id)
    assert len(registry._unusable) <= 5


def test_a_404_of_another_kind_is_no_unknown_id(server, registry):
    server.status, server.body = 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
    with pytest.raises(SchemaRegistryError) as caught:
        registry.schema(8)
    assert not isinstance(caught.value, (UnknownSchemaIdError, RegistryUnavailableError))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_unavailable_and_asked_again(server, registry, status):
    server.status, server.body = status, {"error_code": status * 100, "message": "later"}
    with pytest.raises(RegistryUnavailableError, match="schema 4"):
        registry.schema(4)
    server.status, server.body = 200, {"schema": json.dumps(SCHEMA)}
    assert registry.schema(4) == SCHEMA


@pytest.mark.parametrize("status", [401, 403, 422])
def test_a_refusal_is_neither_unavailable_nor_unknown(server, registry, status):
    server.status, server.body = status, {"error_code": status, "message": "no"}
    with pytest.raises(SchemaRegistryError) as caught:
        registry.schema(4)
    assert type(caught.value) is SchemaRegistryError


def test_a_conflict_is_an_incompatible_schema(server, registry):
    server.status, server.body = 409, {"error_code": 409, "message": "incompatible"}
    with pytest.raises(SchemaCompatibilityError, match=r"subject s.*incompatible"):
        registry.register("s", SCHEMA)


def test_nobody_listening_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        registry = SchemaRegistry({"url": f"http://127.0.0.1:{unused.getsockname()[1]}"})
        with pytest.raises(RegistryUnavailableError):
            registry.schema(1)


def test_another_address_of_the_registry_is_tried_where_the_first_does_not_answer(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        registry = SchemaRegistry({"url": f"{nobody},{server.url}"})
        assert registry.schema(1) == SCHEMA
        registry.close()


def test_silence_is_unavailable_within_the_time_out(server, registry):
    server.silent.set()
    started = registry_module.time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        registry.schema(1)
    assert registry_module.time.monotonic() - started < 3


def test_every_request_is_bounded_unless_told_otherwise():
    client = SchemaRegistry({"url": "http://127.0.0.1:1"}).client
    assert client._rest_client.timeout == REQUEST_TIMEOUT
    assert client._rest_client.max_retries == 1


@pytest.mark.parametrize(
    "body",
    [
        {"schema": "{not json"},
        {"schema": "{}", "schemaType": "PROTOBUF"},
        {"schema": '{"type": "a.B"}', "references": [{"name": "x", "subject": "s", "version": 1}]},
    ],
)
def test_an_id_without_an_avro_schema_is_final_and_asked_for_once_a_while(server, registry, body):
    server.body = body
    for _ in range(3):
        with pytest.raises(UnusableSchemaError, match="schema 1 of") as caught:
            registry.schema(1)
        assert not isinstance(caught.value, UnknownSchemaIdError)
    assert len([request for request in server.requests if "/schemas/ids/1" in request]) == 1


@pytest.mark.parametrize("body", [b"<html>a proxy</html>", [], {}, {"schema": 5}])
def test_an_answer_that_makes_no_sense_says_nothing_about_the_id(server, registry, body):
    server.body = body
    with pytest.raises(SchemaRegistryError) as caught:
        registry.schema(1)
    assert not isinstance(caught.value, (RegistryUnavailableError, UnusableSchemaError))
    server.body = {"schema": json.dumps(SCHEMA)}
    assert registry.schema(1) == SCHEMA


@pytest.mark.parametrize("schema_id", [2**31, 2**32 - 1, -1])
def test_an_id_that_no_registry_can_have_is_unknown_without_asking(server, registry, schema_id):
    with pytest.raises(UnknownSchemaIdError, match=f"id {schema_id}"):
        registry.schema(schema_id)
    assert server.requests == []


def test_a_bare_primitive_is_a_schema(server, registry):
    server.body = {"schema": "string"}
    assert registry.schema(1) == "string"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@127.0.0.1:1",
        "http://user:hun/ter2@127.0.0.1:1",
        "http://a:hunter2@127.0.0.1:1,http://b:hunter2@127.0.0.1:2",
    ],
)
def test_a_password_in_the_url_is_never_shown(url):
    registry = SchemaRegistry({"url": url, "timeout": 0.2})
    with pytest.raises(SchemaRegistryError) as caught:
        registry.schema(1)
    shown = f"{registry!r} {caught.value}"
    assert "hun" not in shown
    assert "127.0.0.1" in shown


def test_a_wrong_property_is_a_configuration_error_without_secrets():
    registry = SchemaRegistry({"url": "user:hunter2@127.0.0.1:1"})
    with pytest.raises(ConfigurationError) as caught:
        registry.schema(1)
    assert "hunter2" not in str(caught.value)
