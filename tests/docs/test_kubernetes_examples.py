"""docs/kubernetes.md: its files and values render, and what it says of numbers and keys is so."""

from __future__ import annotations

import re

import pytest
import yaml

from flowodm import settings
from supervisor.config.profiles import PROFILES
from supervisor.config.toml import load_config
from support.deploy.helm_chart import CHART, DYNAMIC, pod, rendered

ROOT = CHART.parents[2]
TEXT = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
TOML = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
YAML = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SECRETS = "/run/secrets/flowodm/"


@pytest.mark.parametrize("text", TOML)
def test_a_file_is_one_that_the_supervisor_takes_from_the_chart(text, tmp_path):
    file = tmp_path / "fleet.toml"
    rendered_text = rendered(config=text)["ConfigMap"]["data"]["fleet.toml"]
    (tmp_path / "kafka-password").write_text("hunter2", encoding="utf-8")
    file.write_text(rendered_text.replace(SECRETS, ""), encoding="utf-8")
    assert load_config(file, {"POD_NAME": "shop-0"}).consumers


def test_secrets_are_read_where_they_are_mounted():
    (path,) = re.findall(r'sasl_password_file = "(.*)/kafka-password"', TEXT)
    (only,) = pod(rendered(secret={"existing": "shop-kafka"}))["containers"]
    assert path in [mount["mountPath"] for mount in only["volumeMounts"]]


@pytest.mark.parametrize("text", YAML)
def test_values_render(text):
    objects = rendered(config=DYNAMIC, **yaml.safe_load(text))
    (trigger,) = objects["ScaledObject"]["spec"]["triggers"]
    assert trigger["metadata"]["lagThreshold"] == "2000"


def test_every_value_that_is_named_exists():
    named = set(re.findall(r"`([a-z][A-Za-z]+\.[a-z][A-Za-z]+)[=`]", TEXT))
    named |= set(re.findall(r"--set(?:-file)? ([A-Za-z.]+)=", TEXT))
    known = {"values.yaml", *VALUES}
    known |= {
        f"{key}.{inner}"
        for key, table in VALUES.items()
        if isinstance(table, dict)
        for inner in table
    }
    assert {"update.partition", "secret.existing", "keda.stabilizationSeconds"} <= named
    assert named - known == set()


def test_the_sessions_are_those_of_the_profiles():
    rows = re.findall(r"^\| (`.*?) \| (\d+) s \|$", TEXT, re.MULTILINE)
    said = {name: int(length) for names, length in rows for name in re.findall("`(.*?)`", names)}
    assert said == {
        name: getattr(settings, profile).session_timeout_ms // 1000
        for name, profile in PROFILES.items()
        if name != "base"
    }


def test_the_delays_are_those_of_the_values():
    assert f"| {VALUES['unreachableSeconds']} s later |" in TEXT
