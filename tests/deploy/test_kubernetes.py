"""The manifests for Kubernetes, rendered by kustomize: restricted, and fit for the gateway.

`make deploy-check` validates them against the schemas of Kubernetes.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway_site import variables
from gateway_site.health import middleware as health
from gateway_site.server.exporters import PROMETHEUS_ADDRESS
from tests import deploy_check
from tests.deploy import DEPLOY, FINISHING, environment_of

KUSTOMIZE = shutil.which("kustomize")

pytestmark = pytest.mark.skipif(KUSTOMIZE is None, reason="NO KUSTOMIZE: install it")


def build(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the objects of a folder by their kinds: there is one of each."""
    assert KUSTOMIZE is not None
    command = [KUSTOMIZE, "build", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    objects = list(yaml.safe_load_all(done.stdout))
    by_kind = {each["kind"]: each for each in objects}
    assert len(by_kind) == len(objects)
    return by_kind


@cache
def render() -> dict[str, dict[str, Any]]:
    """Return the example's objects."""
    return build(DEPLOY / "kubernetes/example")


def pod(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = render()[kind]["spec"]["template"]["spec"]
    return found


def container(kind: str) -> dict[str, Any]:
    [found] = pod(kind)["containers"]
    return dict(found)


WORKLOADS = pytest.mark.parametrize("kind", ["Deployment", "Job"])


@WORKLOADS
def test_pod_meets_the_restricted_standard(kind: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec, security = pod(kind), container(kind)["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} == {"emptyDir"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    labels = render()["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@WORKLOADS
def test_container_writes_only_to_tmp_and_has_no_token_of_the_cluster(kind: str) -> None:
    assert container(kind)["securityContext"]["readOnlyRootFilesystem"] is True
    assert [each["mountPath"] for each in container(kind)["volumeMounts"]] == ["/tmp"]  # noqa: S108 - in the container
    assert pod(kind)["automountServiceAccountToken"] is False


@WORKLOADS
def test_variables_come_from_the_configuration_and_the_secret(kind: str) -> None:
    configuration = render()["ConfigMap"]["metadata"]["name"]
    assert container(kind)["envFrom"] == [
        {"configMapRef": {"name": configuration}},
        {"secretRef": {"name": "gateway"}},
    ]


def test_gateway_knows_each_variable() -> None:
    assert list(variables.find_unknown(render()["ConfigMap"]["data"])) == []


@pytest.mark.long
def test_deployment_check_finds_nothing_in_the_variables() -> None:
    done = deploy_check.run(environment_of(render()["ConfigMap"]["data"]))
    assert done.returncode == 0, done.stderr


def test_only_the_server_has_the_role_of_the_store() -> None:
    name = render()["ServiceAccount"]["metadata"]["name"]
    assert pod("Deployment")["serviceAccountName"] == name
    assert "serviceAccountName" not in pod("Job")


def test_probes_ask_what_the_gateway_answers_and_an_outage_restarts_nothing() -> None:
    probes = {name: container("Deployment")[f"{name}Probe"] for name in ("liveness", "readiness")}
    asked = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert asked == {"liveness": health.LIVENESS, "readiness": health.READINESS}
    assert {"name": "http", "containerPort": 8000} in container("Deployment")["ports"]


def test_pod_is_killed_only_after_draining_and_finishing() -> None:
    drain = int(render()["ConfigMap"]["data"]["DRAIN_SECONDS"])
    readiness = container("Deployment")["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < drain
    grace = pod("Deployment")["terminationGracePeriodSeconds"]
    assert drain + FINISHING < grace


def test_prometheus_reaches_the_port_that_the_gateway_opens_for_it() -> None:
    variables_given = render()["ConfigMap"]["data"]
    host = variables_given["OTEL_EXPORTER_PROMETHEUS_HOST"]
    assert (variables_given["OTEL_METRICS_EXPORTER"], host) == ("prometheus", "0.0.0.0")  # noqa: S104 - in the pod
    ports = {each["name"]: each["containerPort"] for each in container("Deployment")["ports"]}
    assert ports["metrics"] == PROMETHEUS_ADDRESS[1]
    opened = [
        port for rule in render()["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]
    ]
    assert {"port": "metrics"} in opened


def test_selectors_find_the_pods_of_the_deployment_alone() -> None:
    labels = render()["Deployment"]["spec"]["template"]["metadata"]["labels"]
    migration = render()["Job"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        render()["Deployment"]["spec"]["selector"]["matchLabels"],
        render()["Service"]["spec"]["selector"],
        render()["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(
            each["labelSelector"]["matchLabels"]
            for each in pod("Deployment")["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= migration.items()


def test_network_policy_covers_both_kinds_of_pods() -> None:
    policy = render()["NetworkPolicy"]["spec"]
    for kind in ("Deployment", "Job"):
        labels = render()[kind]["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["from"] for rule in policy["ingress"])


def test_component_gives_each_pod_an_audit_file_on_a_volume_that_outlives_it(
    tmp_path: Path,
) -> None:
    folder = DEPLOY / "kubernetes"
    overlay = yaml.safe_load((folder / "example/kustomization.yaml").read_text("utf-8"))
    overlay["resources"] = [os.path.relpath(folder / "base", tmp_path)]
    overlay["components"] = [os.path.relpath(folder / "audit", tmp_path)]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    found = build(tmp_path)
    spec = found["Deployment"]["spec"]["template"]["spec"]
    [gateway] = spec["containers"]
    variables_given = {each["name"]: each for each in gateway["env"]}
    assert list(variables_given) == ["POD_NAME", "AUDIT_FILE"]  # Kubernetes fills in earlier ones.
    assert variables_given["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    file = Path(variables_given["AUDIT_FILE"]["value"])
    assert "$(POD_NAME)" in file.name
    [volume] = [
        each["name"] for each in gateway["volumeMounts"] if each["mountPath"] == str(file.parent)
    ]
    claims = {each["name"]: each.get("persistentVolumeClaim") for each in spec["volumes"]}
    assert claims[volume] == {"claimName": found["PersistentVolumeClaim"]["metadata"]["name"]}
    assert found["PersistentVolumeClaim"]["metadata"]["namespace"] == "gateway"
    assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    # Everything else is as without it.
    assert set(found) - set(render()) == {"PersistentVolumeClaim"}
    assert found["Job"]["spec"] == render()["Job"]["spec"]
    assert gateway["securityContext"] == container("Deployment")["securityContext"]
    assert "tmp" in claims
    assert spec["securityContext"] == pod("Deployment")["securityContext"] | {"fsGroup": 10001}
