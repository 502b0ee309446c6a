from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from fleets import embedded, until
from prometheus_client.parser import text_string_to_metric_families

from supervisor import http


@pytest.fixture
async def served():
    async with embedded({"orders": "steady"}, http="127.0.0.1:0") as supervisor:
        await until(lambda: supervisor.ready, "it is ready")
        yield supervisor


async def ask(supervisor, request):
    """Send raw bytes, return head and body of the answer."""
    reader, writer = await asyncio.open_connection(*supervisor.http_address)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            answer = await reader.read()
    except ConnectionError:
        answer = b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


def request(method, path, *headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_each_page_answers_get_and_head(served):
    for path in ("/metrics", "/healthz", "/readyz", "/status"):
        head, body = await ask(served, request("GET", path))
        assert head.startswith("HTTP/1.1 200"), path
        assert body
        head, body = await ask(served, request("HEAD", path))
        assert head.startswith("HTTP/1.1 200"), path
        assert not body


async def test_metrics_parse_and_status_is_json(served):
    _, body = await ask(served, request("GET", "/metrics"))
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"flowodm_worker_state", "flowodm_worker_up", "flowodm_worker_restarts"} <= names
    _, body = await ask(served, request("GET", "/status"))
    status = json.loads(body)
    assert status["ready"] is True
    assert status["consumers"]["orders"]["slots"][0]["partitions"] == [["standin", 0]]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_every_other_method_is_refused(served, method):
    head, _ = await ask(served, request(method, "/status", "Content-Length: 0"))
    assert head.startswith("HTTP/1.1 405")
    assert "Allow: GET, HEAD" in head


async def test_another_path_is_not_found_and_names_those_that_are(served):
    head, body = await ask(served, request("GET", "/etc/passwd"))
    assert head.startswith("HTTP/1.1 404")
    assert b"/metrics /healthz /readyz /status" in body


async def test_readyz_is_red_while_it_drains(served):
    assert served.ready
    served.stop()
    await until(lambda: not served.ready, "it is not ready any more")
    assert "the supervisor is stopping" in served._unready()


@pytest.mark.parametrize(
    "data",
    [request("GET", "/" + "x" * 10_000), b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"],
    ids=["long line", "garbage", "no host"],
)
async def test_a_bad_request_is_refused_and_leaves_no_noise_in_the_log(served, data, caplog):
    head, _ = await ask(served, data)
    assert " 400 " in head.splitlines()[0]
    assert not caplog.records


async def test_a_page_that_fails_is_500_and_logged_and_the_others_work(served, monkeypatch, caplog):
    monkeypatch.setattr(served._exposition, "_members", lambda: 1 / 0)
    head, body = await ask(served, request("GET", "/metrics"))
    assert head.startswith("HTTP/1.1 500")
    assert b"ZeroDivisionError" not in body
    assert "ZeroDivisionError" in caplog.text
    head, _ = await ask(served, request("GET", "/healthz"))
    assert head.startswith("HTTP/1.1 200")


async def test_a_client_that_never_ends_its_request_is_cut_off(monkeypatch):
    monkeypatch.setattr(http, "CONNECTION_LIFETIME", 0.2)
    async with embedded({"orders": "steady"}, http="127.0.0.1:0") as supervisor:
        assert await ask(supervisor, b"GET /metrics HT") == ("", b"")
        assert await ask(supervisor, b"") == ("", b"")


async def test_more_connections_than_allowed_are_closed_and_the_others_work(monkeypatch):
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 3)
    async with embedded({"orders": "steady"}, http="127.0.0.1:0") as supervisor:
        address = supervisor.http_address
        held = [await asyncio.open_connection(*address) for _ in range(3)]
        refused = await ask(supervisor, b"")
        assert refused == ("", b"")
        reader, writer = held[0]
        writer.write(request("GET", "/healthz"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, each in held:
            each.close()
            with contextlib.suppress(ConnectionError):
                await each.wait_closed()
