"""The cache of jars, which any number of test processes share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.brokers import artifacts


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWODM_TEST_CACHE", str(tmp_path))
    monkeypatch.setattr(artifacts, "java", lambda: "java")
    return tmp_path


def test_many_who_ask_at_once_share_one_download():
    downloads = []
    all_ask = threading.Barrier(8)

    two_download = threading.Event()

    def fetch(folder):
        downloads.append(folder)
        if len(downloads) > 1:
            two_download.set()
        two_download.wait(0.3)  # long enough for a second download to begin, if it can
        (folder / "a.jar").write_text("jar")

    def ask(_):
        all_ask.wait(10)
        return (artifacts._fetched_once("jars", fetch) / "a.jar").read_text()

    with ThreadPoolExecutor(8) as askers:
        assert list(askers.map(ask, range(8))) == ["jar"] * 8
    assert len(downloads) == 1


def test_a_download_that_fails_halfway_leaves_nothing_that_looks_complete(cache):
    def fetch_half(folder):
        (folder / "a.jar").write_text("half of it")
        raise artifacts.ArtifactsUnavailableError("the line went dead")

    def fetch(folder):
        (folder / "a.jar").write_text("all of it")

    with pytest.raises(artifacts.ArtifactsUnavailableError):
        artifacts._fetched_once("jars", fetch_half)
    assert [path.name for path in cache.iterdir()] == ["jars.lock"]

    assert (artifacts._fetched_once("jars", fetch) / "a.jar").read_text() == "all of it"


def test_what_maven_says_when_it_fails_is_in_the_error(monkeypatch):
    monkeypatch.setattr(artifacts, "POM", artifacts.POM.with_name("no-such-pom.xml"))
    monkeypatch.setattr(artifacts, "_tool", lambda name, way_out: "/bin/ls")

    with pytest.raises(artifacts.ArtifactsUnavailableError, match="dependency:copy"):
        artifacts._maven("dependency:copy")


def test_a_missing_tool_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(artifacts.ArtifactsUnavailableError, match=r"no mvn; .*install maven"):
        artifacts._maven("dependency:copy")
