"""`make docs`: a site without a broken link, with all that the packages export."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the site was built; a warning, such as a link that leads nowhere, ends it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def ids(page: Path) -> set[str]:
    return set(re.findall(r'id="([^"]+)"', page.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("module", "page"),
    [("flowodm", "flowodm"), ("flowodm.testing", "testing"), ("supervisor", "supervisor")],
)
def test_the_reference_has_every_name_that_is_exported(site, module, page):
    exported = {f"{module}.{name}" for name in import_module(module).__all__}

    shown = ids(site / "reference" / page / "index.html")

    assert exported - shown <= {"flowodm.__version__"}


def test_the_reference_has_the_methods_of_a_model_and_of_a_loop(site):
    shown = ids(site / "reference" / "flowodm" / "index.html")

    assert {"flowodm.FlowBaseModel.produce", "flowodm.FlowBaseModel.consume_iter"} <= shown
    assert {"flowodm.ConsumerLoop.run", "flowodm.AsyncConsumerLoop.stop"} <= shown


def test_the_specification_is_a_page_with_its_sections_and_snippets(site):
    text = (site / "consumer_loops" / "index.html").read_text(encoding="utf-8")

    assert {"commit-strategies", "decorator-style", "complete-microservice-example"} <= ids(
        site / "consumer_loops" / "index.html"
    )
    assert text.count('class="highlight"') == 13
    assert ".. code-block" not in text


def test_what_a_page_links_to_in_the_repository_is_on_the_site(site):
    for name in ("deploy/prometheus/rules.yml", "deploy/grafana/flowodm-fleets.json"):
        assert (site / name).read_bytes() == (ROOT / name).read_bytes()
    assert "flowodm-supervisor@.service" in (site / "deploy/systemd/index.html").read_text()


def test_nothing_is_loaded_from_elsewhere(site):
    pages = list(site.rglob("*.html"))

    assert len(pages) > 20
    assert {str(page): ELSEWHERE.findall(page.read_text(encoding="utf-8")) for page in pages} == {
        str(page): [] for page in pages
    }
