"""The page at /, in a real browser, over real processes."""

from __future__ import annotations

import os
import signal

import pytest
from standins import MARKUP

from supervisor import SupervisorConfig
from support.commands.browser import MISSING, browser
from support.fleets.fleets import PATIENCE, embedded, slots
from support.fleets.fleets import fleet as configured
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")

# What a person sees of the contrast between each text and what is behind it (WCAG 2, 1.4.3).
CONTRASTS = """
const linear = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const channel = (value) => linear(value / 255);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const colour = numbers(getComputedStyle(element).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const worst = {};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) worst[walker.currentNode.data.trim()] = ratio;
}
return worst;
"""
# Everything that is read out from here on.
LISTEN = """
window.sameDocument = true;
window.said = [];
const live = document.querySelector('[aria-live=polite]');
new MutationObserver(() => said.push(live.textContent)).observe(live, {childList: true});
"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def shown(chromium, supervisor, *, width=1200):
    """Open the page and wait until it is drawn."""
    chromium.look_like(width=width)
    chromium.open("http://{}:{}/".format(*supervisor.http_address))
    chromium.until("return document.querySelector('tbody tr') !== null", "a worker is shown")


def until_ready(supervisor):
    wait_until(lambda: supervisor.ready, PATIENCE, "it is ready")


def row(chromium, consumer, slot):
    """A worker's cells, by the column's title."""
    script = """
    const card = document.getElementById(`consumer-${arguments[0]}`).closest('section');
    const titles = [...card.querySelectorAll('thead th')].map((th) => th.textContent);
    const cells = card.querySelectorAll('tbody tr')[arguments[1]].children;
    return Object.fromEntries(titles.map((title, i) => [title, cells[i].textContent]));
    """
    return chromium.run(script, consumer, slot)


def test_it_shows_each_consumer_and_each_worker(chromium):
    fleet = {"orders": ("steady", {"workers": 2}), "mail": "slow_to_start"}
    with embedded(fleet, http="127.0.0.1:0") as supervisor:
        shown(chromium, supervisor)
        seen = wait_until(
            lambda: (now := row(chromium, "orders", 1))["State"] == "processing" and now,
            PATIENCE,
            "a worker of orders processes",
        )
        assert seen["PID"] == str(slots(supervisor)["orders/1"]["pid"])
        assert seen["Partitions"] == "standin 0"
        assert row(chromium, "mail", 0)["State"] == "starting"
        assert chromium.run("return document.title") == "2/3 ready · test"
        assert "Live" in chromium.text("header")
        chromium.until(
            "return /at most [1-9]/.test(document.querySelector('figcaption').textContent)",
            "the history has a first rate",
        )
        assert chromium.run("return document.querySelector('.line').getAttribute('d')")
        assert chromium.complaints() == []


def test_a_new_state_appears_without_a_reload_and_only_it_is_read_out(chromium):
    with embedded({"orders": ("steady", {"workers": 2})}, http="127.0.0.1:0") as supervisor:
        until_ready(supervisor)
        shown(chromium, supervisor)
        chromium.run(LISTEN)
        killed = slots(supervisor)["orders/0"]["pid"]
        os.kill(killed, signal.SIGKILL)
        wait_until(
            lambda: row(chromium, "orders", 0)["Restarts"] == "1 (signal 1)",
            PATIENCE,
            "the restart is shown with its reason",
        )
        assert "ended by SIGKILL" in chromium.text("#failures")
        wait_until(
            lambda: row(chromium, "orders", 0)["PID"] == str(slots(supervisor)["orders/0"]["pid"]),
            PATIENCE,
            "the successor is shown",
        )
        before = row(chromium, "orders", 1)["Records/s"], slots(supervisor)["orders/1"]["processed"]
        wait_until(
            lambda: slots(supervisor)["orders/1"]["processed"] > before[1] + 2, PATIENCE, "it works"
        )
        said = chromium.run("return said")
        assert all(text.startswith("orders worker 0: ") for text in said), said
        assert chromium.run("return sameDocument")


def test_a_pause_and_a_refused_reload_are_shown_with_the_reason(chromium):
    fleet = {"orders": ("steady", {"workers": 2}), "mail": "steady"}
    with embedded(fleet, http="127.0.0.1:0") as supervisor:
        until_ready(supervisor)
        shown(chromium, supervisor)
        assert not chromium.run("return document.getElementById('reload').checkVisibility()")
        chromium.run(LISTEN)
        supervisor.pause("orders").result(PATIENCE)
        other = SupervisorConfig.model_validate(
            configured({"orders": "steady"}, instance_id="other")
        )
        assert supervisor.reload(other).exception(PATIENCE) is not None

        wait_until(
            lambda: row(chromium, "orders", 1)["State"].endswith(", paused"),
            PATIENCE,
            "a paused worker is shown as one",
        )
        assert not row(chromium, "mail", 0)["State"].endswith(", paused")
        assert "ready, paused" in chromium.text("#consumers section:first-child .title")
        wait_until(
            lambda: "supervisor.instance_id" in chromium.text("#reload"), PATIENCE, "it says why"
        )
        assert "A reload was refused" in " ".join(chromium.run("return said"))


def test_what_is_wrong_with_a_living_worker_is_shown_beside_its_state(chromium):
    limits = {"handler_timeout": "1s", "dump_delay": "1h"}
    fleet = {"orders": ("handles_one_for_ever", limits)}
    with embedded(fleet, http="127.0.0.1:0", drain_timeout="1s", kill_delay="100ms") as supervisor:
        shown(chromium, supervisor)
        seen = wait_until(
            lambda: (
                (now := row(chromium, "orders", 0)["State"]) != "processing"
                and "limit" in now
                and now
            ),
            PATIENCE,
            "the reason is shown",
        )
        assert seen.startswith("draininga handler has been running for")
        supervisor.stop(now=True)


def test_markup_in_an_error_is_shown_as_the_text_that_it_is(chromium):
    with embedded({"orders": "crash_with_markup"}, http="127.0.0.1:0") as supervisor:
        shown(chromium, supervisor)
        chromium.until("return document.querySelector('.message') !== null", "a failure is shown")
        assert chromium.run("return document.querySelector('.message').textContent") == MARKUP
        assert chromium.run("return document.querySelectorAll('img').length") == 0
        assert chromium.run("return document.title") != "owned"
        with pytest.raises(AssertionError, match="TrustedHTML"):
            chromium.run("document.body.innerHTML = '<p>'")
        (complaint,) = chromium.complaints()
        assert "TrustedHTML" in complaint


def test_a_phone_shows_all_of_it_without_scrolling_sideways(chromium):
    fleet = {"orders": ("steady", {"workers": 2}), "o" * 100: "crash_with_markup"}
    with embedded(fleet, http="127.0.0.1:0") as supervisor:
        shown(chromium, supervisor, width=375)
        chromium.until("return document.querySelector('.message') !== null", "a failure is shown")
        assert chromium.run("return [document.documentElement.scrollWidth, innerWidth]") == [
            375,
            375,
        ]
        # To a screen reader the rows are still rows of a table, with headers.
        nodes = chromium.devtools("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        tables = [node["name"]["value"] for node in nodes if node["role"]["value"] == "table"]
        assert "Workers of orders" in tables
        assert roles.count("rowheader") >= 4
        assert roles.count("columnheader") >= 20


def test_dark_and_light_differ_and_every_text_can_be_read_in_both(chromium):
    fleet = {"orders": "steady", "mail": "crash_with_markup", "slow": "slow_to_start"}
    with embedded(fleet, http="127.0.0.1:0") as supervisor:
        shown(chromium, supervisor)
        chromium.until("return document.querySelector('.message') !== null", "a failure is shown")
        grounds = set()
        for scheme in ("light", "dark"):
            chromium.look_like(width=1200, scheme=scheme)
            ground = "return getComputedStyle(document.body).backgroundColor"
            grounds.add(chromium.run(ground))
            assert chromium.run(CONTRASTS) == {}, scheme
        assert len(grounds) == 2


def test_it_asks_nothing_while_nobody_looks(chromium):
    with embedded({"orders": "steady"}, http="127.0.0.1:0") as supervisor:
        shown(chromium, supervisor)
        chromium.run("""
        window.asked = 0;
        const before = window.fetch;
        window.fetch = (...all) => { asked += 1; return before(...all); };
        window.away = true;
        Object.defineProperty(document, 'hidden', { get: () => away });
        document.dispatchEvent(new Event('visibilitychange'));
        window.since = performance.now();
        """)
        chromium.until("return performance.now() - since > 2500", "two turns would have passed")
        assert chromium.run("return asked") == 0
        chromium.run("away = false; document.dispatchEvent(new Event('visibilitychange'))")
        chromium.until("return asked > 1", "it asks again")


def test_it_says_that_the_supervisor_does_not_answer_any_more(chromium):
    with embedded({"orders": "steady"}, http="127.0.0.1:0") as supervisor:
        until_ready(supervisor)
        shown(chromium, supervisor)
        chromium.run(LISTEN)
    chromium.until(
        "return document.getElementById('connection').textContent.includes('does not answer')",
        "it says so",
    )
    assert "The supervisor does not answer" in chromium.run("return said")
    assert row(chromium, "orders", 0)["Partitions"] == "standin 0"


def test_without_javascript_it_says_where_the_facts_are(chromium):
    with embedded({"orders": "steady"}, http="127.0.0.1:0") as supervisor:
        chromium.devtools("Emulation.setScriptExecutionDisabled", value=True)
        try:
            chromium.open("http://{}:{}/".format(*supervisor.http_address))
            read = [
                node["name"]["value"]
                for node in chromium.devtools("Accessibility.getFullAXTree")["nodes"]
                if not node["ignored"] and "name" in node
            ]
        finally:
            chromium.devtools("Emulation.setScriptExecutionDisabled", value=False)
        assert any("JavaScript" in text for text in read)
        assert "/status" in read
