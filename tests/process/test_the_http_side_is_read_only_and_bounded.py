from __future__ import annotations

import asyncio
import contextlib
import json
import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from supervisor.http import server as http
from supervisor.instrumentation import status as status_module
from support.fleets.fleets import embedded, until


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
    for path in ("/", "/metrics", "/healthz", "/readyz", "/status", "/history"):
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
    assert set(status) <= set(re.findall(r"``(\w+)``", status_module.__doc__))


async def test_metrics_are_openmetrics_for_those_who_ask(served):
    accept = "Accept: application/openmetrics-text; version=1.0.0; q=0.9, text/plain; q=0.1"
    head, body = await ask(served, request("GET", "/metrics", accept))
    assert "Content-Type: application/openmetrics-text" in head
    names = {family.name for family in parse_openmetrics(body.decode())}
    assert {"flowodm_worker_cpu_seconds", "standin_beats"} <= names


async def test_workers_are_measured_and_a_history_is_kept(served):
    def measured():
        slot = served.status()["consumers"]["orders"]["slots"][0]
        return slot["records_per_second"] > 0 and slot["resident_bytes"]

    assert await until(measured, "its rate and its memory are known") > 5_000_000
    assert served.status()["consumers"]["orders"]["slots"][0]["cpu_seconds"] >= 0
    await until(lambda: served.history()["age_seconds"], "a second sample was taken")
    _, body = await ask(served, request("GET", "/history"))
    seen = json.loads(body)["consumers"]["orders"]
    assert seen["records_per_second"][-1] > 0
    assert seen["lag"][-1] == 0


# What the world may not do with what is served here.
HEADERS = {
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "X-Frame-Options: DENY",
    "Server: flowodm-supervisor",
}


async def test_every_answer_tells_the_browser_to_keep_and_to_guess_nothing(served):
    for path in ("/", "/metrics", "/status", "/history", "/readyz", "/no/such/page"):
        head, _ = await ask(served, request("GET", path))
        lines = set(head.splitlines())
        assert lines >= HEADERS, path
        (policy,) = [line for line in lines if line.startswith("Content-Security-Policy: ")]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


async def test_a_name_that_is_not_ours_is_refused_whatever_it_asks_for(served):
    for path in ("/", "/metrics", "/status", "/healthz"):
        asked = (
            f"GET {path} HTTP/1.1\r\nHost: rebound.example.com:9108\r\nConnection: close\r\n\r\n"
        )
        head, body = await ask(served, asked.encode())
        assert head.startswith("HTTP/1.1 403"), path
        assert b"orders" not in body


async def test_names_of_the_configuration_are_answered():
    names = ["fleet.example.org", ".cluster.local"]
    async with embedded({"orders": "steady"}, http="127.0.0.1:0", http_hosts=names) as supervisor:
        for host, status in (
            ("fleet.example.org", 200),
            ("shop.default.svc.cluster.local:9108", 200),
            ("example.org", 403),
        ):
            text = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            head, _ = await ask(supervisor, text.encode())
            assert head.startswith(f"HTTP/1.1 {status}"), host


async def test_two_hosts_are_refused_and_none_is_fine_for_what_is_no_browser(served):
    head, _ = await ask(served, request("GET", "/status", "Host: rebound.example.com"))
    assert head.split()[1] in {"400", "403"}
    head, _ = await ask(served, b"GET /status HTTP/1.0\r\n\r\n")
    assert head.split()[1] == "200"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_every_other_method_is_refused(served, method):
    head, _ = await ask(served, request(method, "/status", "Content-Length: 0"))
    assert head.startswith("HTTP/1.1 405")
    assert "Allow: GET, HEAD" in head


async def test_another_path_is_not_found_and_names_those_that_are(served):
    head, body = await ask(served, request("GET", "/etc/passwd"))
    assert head.startswith("HTTP/1.1 404")
    assert b"/metrics /healthz /readyz /status /history" in body


async def test_readyz_is_red_while_it_drains(served):
    assert served.ready
    served.stop()
    await until(lambda: not served.ready, "it is not ready any more")
    assert "the supervisor is stopping" in served._unready()


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/" + "x" * 10_000),
        request("GET", "/status", "X-Long: " + "x" * 10_000),
        request("GET", "/status", *[f"X-{n}: x" for n in range(1000)]),
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["long line", "long header", "many headers", "garbage", "no host"],
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
