"""FaultProxy passes bytes on, and makes connections fail on demand."""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import threading
import time

import pytest

from flowodm.testing import FaultProxy, Way
from support.waiting import wait_until

PATIENCE = 10.0


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.server.heard.append(data)
                self.request.sendall(data)


@pytest.fixture
def echo():
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        heard: list[bytes] = []  # noqa: RUF012 - one server a test

    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(echo):
    with FaultProxy(f"127.0.0.1:{echo.server_address[1]}") as proxy:
        yield proxy


@contextlib.contextmanager
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as connection:
        yield connection


def says(connection, data=b"hello"):
    connection.sendall(data)
    return hears(connection, len(data))


def hears(connection, size):
    got = b""
    while len(got) < size and (piece := connection.recv(65536)):
        got += piece
    return got


def test_bytes_arrive_on_the_other_side_and_back(proxy):
    data = bytes(range(256)) * 8_000
    with client(proxy) as connection:
        thread = threading.Thread(target=connection.sendall, args=(data,))
        thread.start()
        assert hears(connection, len(data)) == data
        thread.join()
    assert proxy.accepted == 1


def test_an_end_of_one_side_reaches_the_other_after_the_last_byte(proxy):
    with client(proxy) as connection:
        connection.sendall(b"all of it")
        connection.shutdown(socket.SHUT_WR)
        assert hears(connection, 100) == b"all of it"
    wait_until(lambda: proxy.connections == 0, PATIENCE, "the connection has ended")


def test_a_cut_ends_every_connection_in_good_order_and_lets_new_ones_in(proxy):
    with client(proxy) as first, client(proxy) as second:
        says(first)
        says(second)

        assert proxy.cut() == 2

        assert first.recv(1) == b""
        assert second.recv(1) == b""
    with client(proxy) as third:
        assert says(third) == b"hello"


def test_a_reset_is_a_reset(proxy):
    with client(proxy) as connection:
        says(connection)

        assert proxy.reset() == 1

        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_latency_makes_an_answer_late_by_twice_as_much(proxy):
    with client(proxy) as connection:
        with proxy.latency(0.2):
            begun = time.monotonic()
            assert says(connection) == b"hello"
            assert time.monotonic() - begun >= 0.4
        assert says(connection) == b"hello"


def test_latency_does_not_make_many_bytes_slow(proxy):
    """One piece of 64 kB after the other would take 30 s."""
    data = bytes(10_000_000)
    with client(proxy) as connection, proxy.latency(0.2):
        begun = time.monotonic()
        thread = threading.Thread(target=connection.sendall, args=(data,))
        thread.start()
        assert len(hears(connection, len(data))) == len(data)
        thread.join()
        assert time.monotonic() - begun < 15


def test_in_a_black_hole_nothing_arrives_until_it_ends(proxy, echo):
    with client(proxy) as connection:
        says(connection, b"before")
        with proxy.black_hole():
            connection.sendall(b"within")
            with client(proxy) as other:
                other.sendall(b"new")
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                assert echo.heard == [b"before"]
        connection.settimeout(PATIENCE)
        assert hears(connection, 6) == b"within"


def test_a_black_hole_for_answers_lets_the_request_be_done(proxy, echo):
    with client(proxy) as connection, proxy.black_hole(Way.ANSWERS):
        connection.sendall(b"commit")
        wait_until(lambda: echo.heard == [b"commit"], PATIENCE, "the request arrived")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_who_refuses_resets_what_there_is_and_listens_again_on_the_same_port_afterwards(proxy):
    port = proxy.port
    with client(proxy) as connection:
        says(connection)
        with proxy.refuse():
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    assert proxy.port == port
    with client(proxy) as connection:
        assert says(connection) == b"hello"


def test_faults_add_up_and_each_ends_by_itself(proxy):
    hole = proxy.black_hole(Way.REQUESTS)
    late = proxy.latency(0.05)
    other = proxy.black_hole()
    hole.end()
    with client(proxy) as connection:
        connection.sendall(b"held")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        other.end()
        other.end()
        connection.settimeout(PATIENCE)
        assert hears(connection, 4) == b"held"
    late.end()


def test_heal_ends_every_fault(proxy):
    proxy.black_hole()
    proxy.refuse()
    proxy.latency(5.0)

    proxy.heal()

    with client(proxy) as connection:
        assert says(connection) == b"hello"


def test_connections_are_cut_again_and_again_while_they_are_to_be(proxy):
    with proxy.cut_every(0.02):
        for _ in range(3):
            with client(proxy) as connection:
                assert connection.recv(1) == b""
    with client(proxy) as connection:
        assert says(connection) == b"hello"
    with pytest.raises(ValueError, match="greater than 0"):
        proxy.cut_every(0)


def test_a_target_that_is_not_there_resets():
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))  # and does not listen
        with FaultProxy(f"127.0.0.1:{gone.getsockname()[1]}") as proxy:
            # It may come before connect() has returned.
            with pytest.raises(ConnectionResetError), client(proxy) as connection:
                connection.recv(1)
            assert proxy.accepted == 1


def test_a_port_in_use_is_an_error_that_names_it(proxy):
    with pytest.raises(OSError, match=f"port {proxy.port} of") as caught:
        FaultProxy("127.0.0.1:1", port=proxy.port).start()
    assert caught.value.errno == errno.EADDRINUSE


def test_closing_ends_everything_also_within_a_black_hole(echo):
    with FaultProxy(f"127.0.0.1:{echo.server_address[1]}") as proxy:
        proxy.black_hole()
        with client(proxy) as connection:
            wait_until(lambda: proxy.connections == 1, PATIENCE, "it is accepted")
            proxy.close()
            assert connection.recv(1) == b""
    with pytest.raises(RuntimeError, match="not running"):
        proxy.cut()


@pytest.mark.parametrize("target", ["localhost", "9092", ":9092", "localhost:http"])
def test_a_target_without_host_or_port_is_refused(target):
    with pytest.raises(ValueError, match="host:port"):
        FaultProxy(target)
