"""deploy/grafana: queries that Prometheus can read, of metrics and labels that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from support.exposed import exposed
from support.programs import needs

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "flowodm-fleets.json").read_text(encoding="utf-8"))
PANELS = {p["title"]: p for p in DASHBOARD["panels"] if p["type"] != "row"}
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
EXPRESSIONS = [
    *(target["expr"] for panel in PANELS.values() for target in panel["targets"]),
    *(annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]),
]
DS = "datasource"


def test_every_query_names_metrics_that_exist():
    asked = [*EXPRESSIONS, *(v["query"]["query"] for v in VARIABLES.values() if v["name"] != DS)]
    for expression in asked:
        names = set(re.findall(r"flowodm_\w+", expression))
        assert names, expression
        assert names <= exposed(), expression


def test_every_variable_that_is_used_is_defined():
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?(\w+)", text))
    assert used == VARIABLES.keys() | {"__rate_interval", "__all"}


def test_what_a_legend_names_is_what_the_query_keeps():
    for panel in PANELS.values():
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = {
                label
                for labels in re.findall(r"by \(([^)]*)\)", target["expr"])[:1]
                for label in re.split(r", ?", labels)
            }
            assert named <= kept, panel["title"]


def test_panels_do_not_lie_on_each_other_and_have_numbers_of_their_own():
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    covered = set()
    for panel in every:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & covered, panel["title"]
        assert place["x"] + place["w"] <= 24
        covered |= cells


@needs("promtool")
def test_prometheus_can_read_every_query(tmp_path):
    rules = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "1m")}
        for n, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))

    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout
