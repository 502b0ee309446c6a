"""A name that nobody here uses is not answered (DNS rebinding)."""

from __future__ import annotations

import pytest

from supervisor.http.hosts import answers

NAMES = frozenset({"supervisor.example.org", ".cluster.local"})


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9108",
        "10.1.2.3:9108",
        "[::1]:9108",
        "[fe80::1]",
        "localhost:9108",
        "LOCALHOST",
        "fleet.localhost:9108",
        "supervisor:9108",
        "Supervisor.Example.org:9108",
        "supervisor.example.org.:9108",
        "shop.default.svc.cluster.local:9108",
        "127.0.0.1:",
    ],
)
def test_addresses_names_without_a_dot_and_known_names_are_answered(host):
    assert answers(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:9108",
        "supervisor.example.org.evil.com",
        "evilsupervisor.example.org",
        "127.0.0.1.evil.com",
        "127.0.0.1.nip.io:9108",
        "localhost.evil.com",
        "evillocalhost.com",
        "cluster.local",
        "2130706433.com",
        "",
        ":9108",
        "[::1",
        "[evil.com]:80",
        "[::1]evil.com",
        "localhost:80:80",
        "localhost:evil.com",
        "1.2.3",
    ],
)
def test_another_name_and_what_is_no_host_are_not(host):
    assert not answers(host, NAMES)


def test_every_name_is_answered_if_the_operator_says_so():
    assert answers("anything.example.com", {"*"})
    assert not answers("", {"*"})
