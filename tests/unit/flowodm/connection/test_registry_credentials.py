"""Connections to the registry: TLS, certificates, basic and bearer authentication."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from flowodm.connection import connect, get_kafka_connection, get_schema_registry
from flowodm.exceptions import (
    ConfigurationError,
    RegistryUnavailableError,
    SchemaRegistryError,
)
from flowodm.registry.client import SchemaRegistry
from support.brokers.certificates import lock_key, make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = {"type": "record", "name": "X", "fields": []}
SECRET = "hunter2-secret"


class Server(ThreadingHTTPServer):
    """A registry of one schema that tells what headers it was asked with."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.headers: list[dict[str, str]] = []
        self.token_answers: list[tuple[int, Any]] = []
        self.scheme = "http" if context is None else "https"
        self.context = context
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def finish_request(self, request: Any, address: Any) -> None:
        if self.context is None:
            super().finish_request(request, address)
            return
        # In the connection's own thread: a failed handshake keeps nobody else waiting.
        options = {"server_side": True, "do_handshake_on_connect": False}
        with self.context.wrap_socket(request, **options) as secured:
            secured.do_handshake()
            super().finish_request(secured, address)

    def handle_error(self, request: Any, address: Any) -> None:
        pass  # a handshake that fails is what some tests are about

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.headers.append(dict(self.headers.items()))
        status, body = 200, {"schema": json.dumps(SCHEMA)}
        if self.path == "/token":
            status, body = self.server.token_answers.pop(0)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of one authority, and in ``other`` those of another one."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, "server", "client")
    lock_key(folder, "client", SECRET)
    (folder / "other").mkdir()
    make_certificates(folder / "other", "server")
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def tls_server(folder: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server = Server(context)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)  # the HTTP library's lines too
    yield
    logged = [caplog.handler.format(record) for record in caplog.get_records("call")]
    shown = f"{logged} {get_kafka_connection()!r}"
    assert SECRET not in shown
    assert base64.b64encode(f"me:{SECRET}".encode()).decode() not in shown


def asked(**options: Any) -> Any:
    """Ask through connect() as a codec does."""
    registry = connect(**options).registry
    assert registry is not None
    return registry.schema(1)


BASIC = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    "options",
    [
        {"schema_registry_api_key": "me", "schema_registry_api_secret": SECRET},
        {"schema_registry_basic_auth_user_info": f"me:{SECRET}"},
        {"schema_registry_config": {"basic.auth.user.info": f"me:{SECRET}"}},
    ],
)
def test_basic_authentication_is_sent(server, options):
    assert asked(schema_registry_url=server.url, **options) == SCHEMA
    assert server.headers[-1]["Authorization"] == BASIC


def test_credentials_in_the_url_are_sent_and_nowhere_shown(server, caplog):
    url = server.url.replace("http://", f"http://me:{SECRET}@")
    assert asked(schema_registry_url=f"{url}/,{url}") == SCHEMA
    assert server.headers[-1]["Authorization"] == BASIC
    assert "HTTP Request: GET" in caplog.text  # whose addresses had the password in them


def authorized(user_info: str) -> str:
    return "Basic " + base64.b64encode(user_info.encode()).decode()


def test_credentials_in_the_url_win_over_the_environment_and_lose_against_what_is_said(
    server, monkeypatch
):
    monkeypatch.setenv("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", "env:env")
    url = server.url.replace("http://", f"http://me:{SECRET}@")
    asked(schema_registry_url=url)
    assert server.headers[-1]["Authorization"] == BASIC
    asked(schema_registry_basic_auth_user_info="said:said")
    assert server.headers[-1]["Authorization"] == authorized("said:said")
    asked(schema_registry_config={"basic.auth.user.info": "own:own"})
    assert server.headers[-1]["Authorization"] == authorized("own:own")


def test_an_escaped_password_in_the_url_is_sent_as_it_is_meant(server):
    asked(schema_registry_url=server.url.replace("http://", "http://m%40e:a%2Fb%3Ac@"))
    assert server.headers[-1]["Authorization"] == authorized("m@e:a/b:c")


def test_a_token_wins_over_credentials_in_the_url(server):
    url = server.url.replace("http://", f"http://me:{SECRET}@")
    asked(schema_registry_url=url, schema_registry_config={"bearer.auth.token": "t"})
    assert server.headers[-1]["Authorization"] == "Bearer t"


def test_a_token_alone_is_enough_and_wins_over_basic_authentication(server, monkeypatch):
    """Two Authorization headers would exclude each other; the more particular one is meant."""
    monkeypatch.setenv("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", f"other:{SECRET}")
    token = {"bearer.auth.token": SECRET}
    assert asked(schema_registry_url=server.url, schema_registry_config=token) == SCHEMA
    assert server.headers[-1]["Authorization"] == f"Bearer {SECRET}"


def test_a_token_of_the_programs_own_is_asked_for(server):
    def fields(config: dict[str, Any]) -> dict[str, str]:
        return {"bearer.auth.token": SECRET, "bearer.auth.logical.cluster": config["cluster"]}

    config = {
        "bearer.auth.credentials.source": "CUSTOM",
        "bearer.auth.custom.provider.function": fields,
        "bearer.auth.custom.provider.config": {"cluster": "c-1"},
    }
    assert asked(schema_registry_url=server.url, schema_registry_config=config) == SCHEMA
    assert server.headers[-1]["Authorization"] == f"Bearer {SECRET}"


def test_a_token_function_that_fails_is_trouble_with_the_registry_and_no_bad_record(server):
    def fields(_config: dict[str, Any]) -> dict[str, str]:
        raise LookupError(SECRET)

    config = {
        "bearer.auth.credentials.source": "CUSTOM",
        "bearer.auth.custom.provider.function": fields,
        "bearer.auth.custom.provider.config": {},
    }
    with pytest.raises(SchemaRegistryError, match="LookupError") as caught:
        asked(schema_registry_url=server.url, schema_registry_config=config)
    assert SECRET not in str(caught.value)


def close_token_client() -> None:
    """Confluent's client does not close the one that it fetches tokens with."""
    get_schema_registry()._rest_client.bearer_field_provider.client.close()


def identity_provider(server: Server) -> dict[str, Any]:
    return {
        "bearer.auth.credentials.source": "OAUTHBEARER",
        "bearer.auth.client.id": "me",
        "bearer.auth.client.secret": SECRET,
        "bearer.auth.scope": "schemas",
        "bearer.auth.issuer.endpoint.url": f"{server.url}/token",
        "bearer.auth.logical.cluster": "c-1",
    }


def test_a_token_of_an_identity_provider_is_fetched_once(server):
    server.token_answers = [(200, {"access_token": SECRET, "expires_in": 300})]
    registry = connect(
        schema_registry_url=server.url, schema_registry_config=identity_provider(server)
    ).registry
    assert registry is not None
    assert [registry.schema(schema_id) for schema_id in (1, 2)] == [SCHEMA, SCHEMA]
    assert server.headers[-1]["Authorization"] == f"Bearer {SECRET}"
    close_token_client()


def test_an_identity_provider_that_gives_no_token_is_waited_for(server):
    refusal = (401, {"error": "invalid_client", "error_description": f"not {SECRET}"})
    server.token_answers = [refusal] * 2 + [(200, {"access_token": "t", "expires_in": 300})]
    options = {"schema_registry_config": identity_provider(server)}
    with pytest.raises(RegistryUnavailableError, match="identity provider") as caught:
        asked(schema_registry_url=server.url, **options)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert asked() == SCHEMA
    close_token_client()


def test_a_certificate_of_a_named_authority_is_trusted(tls_server, folder):
    trust = {"ssl.ca.location": str(folder / "ca.pem")}
    assert asked(schema_registry_url=tls_server.url, schema_registry_config=trust) == SCHEMA


@pytest.mark.parametrize("trusted", [None, "other/ca.pem"])
def test_a_certificate_that_nobody_vouches_for_is_waited_out_and_the_way_out_said(
    tls_server, folder, trusted
):
    """Sooner or later it is exchanged; no record is to blame for it meanwhile."""
    config = {} if trusted is None else {"ssl.ca.location": str(folder / trusted)}
    options = {"schema_registry_url": tls_server.url, "schema_registry_config": config}
    with pytest.raises(RegistryUnavailableError, match=r"ssl\.ca\.location"):
        asked(**options)
    with pytest.raises(RegistryUnavailableError, match=r"ssl\.ca\.location"):
        asked()


def test_a_certificate_that_is_exchanged_is_seen_without_a_restart(tls_server, folder):
    assert tls_server.context is not None
    other = folder / "other"
    tls_server.context.load_cert_chain(other / "server.pem", other / "server.key")
    trust = {"ssl.ca.location": str(folder / "ca.pem")}
    with pytest.raises(RegistryUnavailableError):
        asked(schema_registry_url=tls_server.url, schema_registry_config=trust)
    tls_server.context.load_cert_chain(folder / "server.pem", folder / "server.key")
    assert asked() == SCHEMA


def test_a_client_certificate_with_a_locked_key_is_shown_where_it_is_wanted(tls_server, folder):
    assert tls_server.context is not None
    tls_server.context.verify_mode = ssl.CERT_REQUIRED
    tls_server.context.load_verify_locations(folder / "ca.pem")
    trust = {"ssl.ca.location": str(folder / "ca.pem")}
    properties = {
        "ssl.certificate.location": str(folder / "client.pem"),
        "ssl.key.location": str(folder / "client.key"),
        "ssl.key.password": SECRET,
    }
    with pytest.raises(RegistryUnavailableError):
        asked(schema_registry_url=tls_server.url, schema_registry_config=trust)
    assert asked(schema_registry_config={**trust, **properties}) == SCHEMA


@pytest.mark.parametrize(
    "wrong",
    [
        {"ssl.key.password": "wr0ng"},
        {"ssl.certificate.location": "/nowhere/client.pem"},
        {"ssl.ca.location": "/nowhere/ca.pem"},
        {"no.such.property": "wr0ng"},
        {"basic.auth.user.info": "wr0ng-without-a-colon"},
        {"timeout": "wr0ng"},
        {"timeout": None},
    ],
)
def test_wrong_properties_are_configuration_errors_without_secrets(folder, wrong):
    properties = {
        "ssl.certificate.location": str(folder / "client.pem"),
        "ssl.key.location": str(folder / "client.key"),
        "ssl.key.password": SECRET,
    }
    connect(
        schema_registry_url="https://127.0.0.1:9", schema_registry_config={**properties, **wrong}
    )
    with pytest.raises(ConfigurationError) as caught:
        asked()
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(ConfigurationError):
        get_schema_registry()


def test_half_of_the_credentials_is_an_error_that_names_both():
    connect(schema_registry_url="http://127.0.0.1:9", schema_registry_api_key="me")
    with pytest.raises(ConfigurationError, match="SCHEMA_REGISTRY_API_SECRET"):
        asked()


def test_the_registry_is_named_without_its_credentials():
    url = f"https://me:{SECRET}@127.0.0.1:9/registry"
    assert SchemaRegistry({"url": url}).name == "https://127.0.0.1:9/registry"


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:9,me:{SECRET}@host",
        f"me:{SECRET}@host",
        f"http://me:{SECRET}@[::1",
        f"http://me:{SECRET}@ho\N{CARE OF}st",
    ],
)
def test_an_address_that_is_no_url_is_a_configuration_error_without_its_password(url):
    with pytest.raises(ConfigurationError) as caught:
        SchemaRegistry({"url": url}).check()
    assert SECRET not in str(caught.value)
