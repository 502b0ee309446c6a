"""RegistryProxy passes the registry's answers on, or gives others in their place."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.error
import urllib.request

import pytest

from flowodm.testing import RegistryProxy, RegistryRequest


class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"path": self.path})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"path": self.path, "body": body.decode(), "from": self.headers["X-From"]})

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with RegistryProxy(f"http://127.0.0.1:{server.server_port}/apis/v7/") as proxy:
            yield proxy
        server.shutdown()


def ask(proxy, path="/subjects", **more):
    request = urllib.request.Request(proxy.url + path, **more)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_requests_reach_the_registry_under_its_own_path_with_body_and_headers(proxy):
    status, content = ask(proxy, "/subjects/a?x=1", data=b"{}", headers={"X-From": "us"})

    assert status == 200
    assert content == {"path": "/apis/v7/subjects/a?x=1", "body": "{}", "from": "us"}
    assert proxy.requests == [RegistryRequest("POST", "/subjects/a?x=1")]


def test_an_answer_is_given_as_often_as_it_is_ordered_and_not_by_the_registry(proxy):
    proxy.answer(503, times=2)

    assert [ask(proxy)[0] for _ in range(3)] == [503, 503, 200]
    assert len(proxy.requests) == 3


def test_an_answer_is_given_only_to_what_it_is_meant_for(proxy):
    with proxy.answer(404, {"error_code": 40403, "message": "no"}, path="/ids/7", method="GET"):
        assert ask(proxy, "/schemas/ids/7") == (404, {"error_code": 40403, "message": "no"})
        assert ask(proxy, "/schemas/ids/8")[0] == 200
        assert ask(proxy, "/schemas/ids/7", data=b"{}")[0] == 200
    assert ask(proxy, "/schemas/ids/7")[0] == 200


def test_the_newest_order_counts_and_heal_ends_all(proxy):
    proxy.answer(500)
    proxy.answer(429, headers={"Retry-After": "1"}, times=1)

    assert [ask(proxy)[0] for _ in range(2)] == [429, 500]
    proxy.heal()
    assert ask(proxy)[0] == 200


def test_it_is_a_fault_proxy_too(proxy):
    with proxy.refuse(), pytest.raises(urllib.error.URLError, match="refused"):
        ask(proxy)
    assert ask(proxy)[0] == 200


def test_only_plain_http_can_be_looked_into():
    with pytest.raises(ValueError, match="http://"):
        RegistryProxy("https://registry:8081")
