"""deploy/kubernetes's chart as the real helm renders it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from support.programs import require

CHART = Path(__file__).parents[3] / "deploy" / "kubernetes" / "flowodm-supervisor"
KUBERNETES = "1.34"
STATIC = """\
[kafka]
bootstrap_servers = "kafka:9092"

[consumers.orders]
model = "shop.orders:OrderEvent"
handler = "shop.orders:process_order"
workers = 4
"""
DYNAMIC = STATIC + 'membership = "dynamic"\n'

Objects = dict[str, dict[str, Any]]


def helm(**values: Any) -> subprocess.CompletedProcess[str]:
    """What `helm template` says; without helm the test is skipped."""
    require("helm")
    given = {"image": {"repository": "registry/shop", "tag": "1"}, "config": STATIC} | values
    command = ["helm", "template", "shop", str(CHART), "--kube-version", KUBERNETES, "--values"]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(given, file)
        file.flush()
        return subprocess.run(
            [*command, file.name], capture_output=True, text=True, check=False, timeout=30
        )


def rendered(**values: Any) -> Objects:
    """The objects by kind; there is one of each."""
    done = helm(**values)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    by_kind = {each["kind"]: each for each in objects}
    assert len(by_kind) == len(objects)
    return by_kind


def refused(**values: Any) -> str:
    """Why helm renders nothing."""
    done = helm(**values)
    assert done.returncode != 0
    return done.stderr


def pod(objects: Objects) -> dict[str, Any]:
    """The pods' spec."""
    workload = objects.get("StatefulSet") or objects["Deployment"]
    return workload["spec"]["template"]["spec"]


def container(objects: Objects) -> dict[str, Any]:
    """The one container's."""
    (only,) = pod(objects)["containers"]
    return only
