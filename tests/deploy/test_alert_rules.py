"""deploy/prometheus: rules on metrics that exist, each alert tried out and in the runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.exposed import exposed
from support.programs import needs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "rules.yml").read_text(encoding="utf-8")
TRIALS = (FOLDER / "rules_test.yml").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")

ALERT = re.compile(r"^      - alert: (\w+)\n(.*?)(?=^      - |^  - |\Z)", re.MULTILINE | re.DOTALL)
ALERTS = dict(ALERT.findall(RULES))
RECORDED = set(re.findall(r"- record: (\S+)", RULES))
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))

with_promtool = needs("promtool")


def named(text: str) -> set[str]:
    """The metrics of our own that a text names, those that rules record among them."""
    return set(re.findall(r"(?:\w+:)?flowodm_\w+(?::\w+)?", text))


@pytest.mark.parametrize(
    "text", [RULES, TRIALS, RUNBOOK], ids=["rules.yml", "rules_test.yml", "alerts.md"]
)
def test_every_metric_that_is_named_exists(text):
    assert len(named(text)) > 5
    assert named(text) <= exposed() | RECORDED


def test_every_alert_has_its_section_in_the_runbook_and_names_it():
    assert list(SECTIONS) == list(ALERTS)
    for name, text in ALERTS.items():
        assert f"runbook: docs/alerts.md#{name.lower()}\n" in text


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_how_to_look_and_what_to_do(name):
    assert re.findall(r"^\*\*(\w+)\*\*", SECTIONS[name], re.MULTILINE) == ["Means", "Look", "Do"]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tried_with_and_without_its_cause(name):
    (_, trial) = TRIALS.split(f"  - name: {name}\n")
    trial = trial.split("  - name: ")[0]

    assert "exp_samples: []" in trial or "exp_alerts: []" in trial
    assert f'alertname="{name}"' in trial or f"alertname: {name}\n" in trial


def run(*arguments: str) -> str:
    """What promtool says that has nothing to complain of."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@with_promtool
def test_promtool_accepts_the_rules_and_the_configuration_that_loads_them():
    said = run("check", "config", "prometheus.yml")

    assert f"{len(ALERTS) + len(RECORDED)} rules found" in said


@with_promtool
def test_each_alert_fires_when_it_should_and_only_then():
    assert "SUCCESS" in run("test", "rules", "rules_test.yml")
