"""docs/page.md: its table is complete, its picture is there, its numbers are the program's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from supervisor.config.config import SupervisorTable
from supervisor.http import hosts
from supervisor.http import server as http
from supervisor.instrumentation.history import INTERVAL, RATE_SPAN, SPAN

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "page.md").read_text(encoding="utf-8")


def test_the_table_names_each_path_that_is_served():
    views = http.Views(lambda _: (b"", ""), lambda: True, list, dict, dict)
    served = http.HttpServer(views, "127.0.0.1", 0)._paths
    assert set(re.findall(r"^\| `(/\w*)` \|", TEXT, flags=re.MULTILINE)) == set(served)


def test_its_configuration_is_valid():
    (toml,) = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    table = SupervisorTable.model_validate(tomllib.loads(toml)["supervisor"])
    names = frozenset(table.http_hosts)
    assert hosts.answers("fleet.example.org:9108", names)
    assert hosts.answers("shop.default.svc.cluster.local", names)


def test_the_picture_is_there_and_small():
    (name,) = re.findall(r"!\[[^]]+\]\((.+)\)", TEXT)
    picture = (DOCS / name).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000


def test_the_numbers_are_those_of_the_program():
    text = " ".join(TEXT.split())
    assert (INTERVAL, SPAN, RATE_SPAN) == (5.0, 15 * 60.0, 10.0)
    assert "every 5 s over the last 15 minutes" in text
    assert "the mean of the last ten seconds" in text
    assert f"complete within {http.CONNECTION_LIFETIME:.0f} s" in text
    assert f"at most {http.MAX_CONNECTIONS} connections" in text
