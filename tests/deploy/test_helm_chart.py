"""deploy/kubernetes: what the chart renders is valid, confined, and fits the supervisor's times."""

from __future__ import annotations

import json

import pytest
import yaml

from supervisor.check.timeouts import stop_seconds
from supervisor.config.toml import load_config
from support.deploy import helm_chart
from support.deploy.helm_chart import (
    CHART,
    DYNAMIC,
    KUBERNETES,
    STATIC,
    container,
    pod,
    refused,
    rendered,
)

TRIGGER = {
    "bootstrapServers": "kafka:9092",
    "consumerGroup": "orders",
    "topic": "orders",
    "lagThreshold": 1000,
}
EVERYTHING = {
    "config": DYNAMIC,
    "secret": {"files": {"kafka-password": "hunter2"}},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "keda": {"enabled": True, "triggers": [TRIGGER], "authentication": "kafka"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "shop"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "nodeSelector": {"disk": "ssd"},
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "high",
    "env": [{"name": "WORKERS", "value": "4"}],
    "envFrom": [{"secretRef": {"name": "shop"}}],
    "networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
}
CUSTOM = {"PodMonitor", "ScaledObject"}

each_variant = pytest.mark.parametrize(
    "values",
    [{}, EVERYTHING, {"kind": "Deployment", "config": DYNAMIC}],
    ids=["as it is", "everything", "Deployment"],
)


def configured(values, tmp_path, pod_name="shop-0"):
    """The configuration as the supervisor in a pod of this name reads it."""
    file = tmp_path / "fleet.toml"
    file.write_text(rendered(**values)["ConfigMap"]["data"]["fleet.toml"], encoding="utf-8")
    return load_config(file, {"POD_NAME": pod_name})


@each_variant
def test_kubernetes_knows_every_field(values):
    schemas = pytest.importorskip("kubernetes_validate", reason="it has Kubernetes' schemas")
    objects = rendered(**values)
    for kind in objects.keys() - CUSTOM:
        schemas.validate(objects[kind], KUBERNETES, strict=True)


@each_variant
def test_a_pod_meets_the_restricted_pod_security_standard(values):
    objects = rendered(**values)
    spec, only = pod(objects), container(objects)
    inner = only["securityContext"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
    assert not {"initContainers", "ephemeralContainers"} & spec.keys()
    assert all("hostPort" not in port for port in only["ports"])
    assert "hostProcess" not in str(spec)
    kinds = [set(volume) - {"name"} for volume in spec["volumes"]]
    assert all(kind <= {"configMap", "emptyDir", "secret"} for kind in kinds)
    assert inner["allowPrivilegeEscalation"] is False
    assert inner.get("privileged", False) is False
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"runAsNonRoot", "runAsUser", "seccompProfile", "procMount"} & inner.keys()
    assert not {"sysctls", "seLinuxOptions", "windowsOptions"} & spec["securityContext"].keys()


@each_variant
def test_it_goes_further_than_the_standard(values):
    objects = rendered(**values)
    assert container(objects)["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod(objects)["automountServiceAccountToken"] is False
    assert objects["ServiceAccount"]["automountServiceAccountToken"] is False


@each_variant
def test_the_configuration_is_one_that_the_supervisor_takes(values, tmp_path):
    config = configured(values, tmp_path)
    assert config.supervisor.own_name == "shop-0"
    assert list(config.consumers) == ["orders"]


def test_everything_is_asked_for_where_it_is_served(tmp_path):
    objects = rendered()
    only = container(objects)
    _, port = configured({}, tmp_path).supervisor.http_address
    assert only["ports"] == [{"name": "http", "containerPort": port, "protocol": "TCP"}]
    paths = {name: only[name]["httpGet"] for name in only if name.endswith("Probe")}
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


def test_commands_in_the_container_find_the_control_socket(tmp_path):
    variables = {each["name"]: each.get("value") for each in container(rendered())["env"]}
    socket = configured({}, tmp_path).supervisor.control_socket
    assert variables["FLOWODM_CONTROL_SOCKET"] == socket
    # An emptyDir is anybody's to write to, which the supervisor refuses; a folder in it is not.
    mounts = [mount["mountPath"] for mount in container(rendered())["volumeMounts"]]
    assert "/run/flowodm" in mounts
    assert socket.count("/") == 4


@pytest.mark.parametrize("drain", [1, 30, 600])
def test_a_pod_is_given_longer_than_its_supervisor_needs_to_stop(drain, tmp_path):
    values = {"supervisor": {"drainTimeoutSeconds": drain}}
    config = configured(values, tmp_path)
    assert config.supervisor.drain_timeout == drain
    granted = pod(rendered(**values))["terminationGracePeriodSeconds"]
    assert granted >= stop_seconds(config) + 10
    assert "lifecycle" not in container(rendered(**values))


def test_a_longer_grace_period_can_be_named():
    assert pod(rendered(terminationGracePeriodSeconds=900))["terminationGracePeriodSeconds"] == 900


def test_secrets_are_files_that_others_cannot_read():
    objects = rendered(**EVERYTHING)
    (volume,) = [each for each in pod(objects)["volumes"] if each["name"] == "secrets"]
    assert volume["secret"]["secretName"] == objects["Secret"]["metadata"]["name"]
    assert volume["secret"]["defaultMode"] == 0o440
    assert "hunter2" not in str({kind: objects[kind] for kind in objects.keys() - {"Secret"}})


def test_a_secret_that_is_there_already_is_mounted():
    objects = rendered(secret={"existing": "mine"})
    assert "Secret" not in objects
    assert {"secretName": "mine", "defaultMode": 0o440} in [
        volume.get("secret") for volume in pod(objects)["volumes"]
    ]


def test_a_new_configuration_or_secret_replaces_pods_unless_that_is_not_wanted():
    def notes(**values):
        template = rendered(**values)["StatefulSet"]["spec"]["template"]
        return template["metadata"].get("annotations")

    assert notes() != notes(config=STATIC + "max_retries = 1\n")
    assert notes() != notes(secret={"files": {"a": "b"}})
    other = notes(config=DYNAMIC, rollOnConfigChange=False)
    assert other == notes(rollOnConfigChange=False)


def test_an_update_begins_with_the_pods_from_a_number_on():
    update = rendered(update={"partition": 2})["StatefulSet"]["spec"]["updateStrategy"]
    assert update == {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "NetworkPolicy", "Service", "PodMonitor"])
def test_what_selects_pods_selects_these(kind):
    objects = rendered(**EVERYTHING)
    spec = objects[kind]["spec"]
    chosen = spec.get("selector") or spec["podSelector"]
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert chosen.get("matchLabels", chosen).items() <= labels.items()


def test_prometheus_gets_the_job_that_the_rules_know():
    objects = rendered(**EVERYTHING)
    (endpoint,) = objects["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "flowodm"}]
    prometheus = helm_chart.CHART.parents[1] / "prometheus" / "prometheus.yml"
    assert "job_name: flowodm " in prometheus.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
def test_keda_scales_what_there_is_and_is_alone_in_it(kind):
    objects = rendered(**EVERYTHING, kind=kind)
    spec = objects["ScaledObject"]["spec"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": objects[kind]["apiVersion"],
        "kind": kind,
        "name": objects[kind]["metadata"]["name"],
    }
    assert "replicas" not in objects[kind]["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"] == {key: str(value) for key, value in TRIGGER.items()}
    assert trigger["authenticationRef"] == {"name": "kafka"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"kind": "Deployment"}, 'membership = "dynamic"'),
        ({"keda": {"enabled": True, "triggers": [TRIGGER]}}, 'membership = "dynamic"'),
        ({"config": DYNAMIC, "keda": {"enabled": True}}, "a topic at least"),
        ({"kind": "DaemonSet"}, "'/kind': value must be one of 'StatefulSet', 'Deployment'"),
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"update": {"partition": -1}}, "'/update/partition': minimum"),
        ({"supervisor": {"drainTimeoutSeconds": "30s"}}, "'/supervisor/drainTimeoutSeconds'"),
        ({"config": '[supervisor]\nhttp = ""\n' + STATIC}, "the chart writes [supervisor]"),
        ({"config": ""}, "--set-file config=fleet.toml"),
        ({"image": {"repository": "shop"}}, "latest is no version"),
        ({"secret": {"files": {"a": "b"}, "existing": "mine"}}, "not both"),
    ],
)
def test_what_would_not_run_as_it_is_meant_to_is_refused(values, why):
    assert why in refused(**values)


def test_the_schema_knows_every_value_that_there_is_and_no_other():
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    # Helm hands this one to a chart that another one depends on.
    del schema["properties"]["global"]

    assert sorted(values) == sorted(schema["properties"])
    for name, table in values.items():
        if "properties" in schema["properties"][name]:
            assert sorted(table) == sorted(schema["properties"][name]["properties"]), name
