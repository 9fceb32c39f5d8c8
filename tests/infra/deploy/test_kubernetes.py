"""The manifests are ones that Kubernetes and KubeRay take, agree with each other, and hold no secret."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "infra" / "deploy"
LABEL = {"app": "stockpot"}
# KubeRay's fields, of those that its documentation lists for ray.io/v1: a typo is dropped by a lenient server without a word.
KUBERAY = {
    "spec": {
        *("entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit", "submissionMode"),
        *("submitterConfig", "submitterPodTemplate", "rayClusterSpec"),
    },
    "rayClusterSpec": {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"},
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpecs": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    (found,) = documents("ray_job.yaml")
    return found


@pytest.fixture(scope="module")
def mlflow() -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in documents("mlflow.yaml")}


def templates(job: dict[str, Any]) -> dict[str, Any]:
    """The pods of a job by their role."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"submitter": job["spec"]["submitterPodTemplate"], "head": cluster["headGroupSpec"]["template"], **groups}


def valid(document: dict[str, Any]) -> None:
    """By Kubernetes' own schemas, unknown fields refused."""
    schemas = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    schemas.validate(document, "1.34", strict=True)


@pytest.mark.parametrize("name", ["network.yaml", "mlflow.yaml"])
def test_kubernetes_takes_it(name: str) -> None:
    for document in documents(name):
        valid(document)


@pytest.mark.parametrize("role", ["submitter", "head", "gpu", "cpu"])
def test_kubernetes_takes_the_pods_of_the_job(job: dict[str, Any], role: str) -> None:
    template = templates(job)[role]
    valid({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": role, **template["metadata"]}, "spec": template["spec"]})


def test_a_typo_is_refused(mlflow: dict[str, dict[str, Any]]) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    with pytest.raises(schemas.ValidationError):
        valid({**mlflow["Deployment"], "spec": {**mlflow["Deployment"]["spec"], "replica": 1}})


def test_the_job_has_kuberays_fields_and_no_others(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert len(job["metadata"]["name"]) <= 47  # KubeRay appends to it
    assert set(job["spec"]) <= KUBERAY["spec"]
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) <= KUBERAY["rayClusterSpec"] and set(cluster["headGroupSpec"]) <= KUBERAY["headGroupSpec"]
    for group in cluster["workerGroupSpecs"]:
        assert set(group) == KUBERAY["workerGroupSpecs"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    starts = [cluster["headGroupSpec"]["rayStartParams"], *(group["rayStartParams"] for group in cluster["workerGroupSpecs"])]
    assert all(isinstance(value, str) for start in starts for value in start.values())


def test_rays_version_is_the_locks(job: dict[str, Any]) -> None:
    assert f"ray=={job['spec']['rayClusterSpec']['rayVersion']}\n" in (ROOT / "requirements.lock").read_text()


def test_the_job_asks_for_a_token_runs_nothing_on_its_head_and_ends(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token" and cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert job["spec"]["shutdownAfterJobFinishes"] and job["spec"]["activeDeadlineSeconds"] > 0
    assert cluster["enableInTreeAutoscaling"] and all(group["minReplicas"] == 0 for group in cluster["workerGroupSpecs"])


def test_every_pod_is_behind_the_policy_and_runs_as_nobody_special(job: dict[str, Any], mlflow: dict[str, dict[str, Any]]) -> None:
    (policy,) = documents("network.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"] == LABEL and policy["spec"]["policyTypes"] == ["Ingress"]
    assert all("ipBlock" not in source for rule in policy["spec"]["ingress"] for source in rule["from"])
    for template in [*templates(job).values(), mlflow["Deployment"]["spec"]["template"]]:
        assert LABEL.items() <= template["metadata"]["labels"].items()
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False and container["resources"]["limits"]["memory"]


def test_mlflows_parts_find_each_other_and_the_job_finds_mlflow(job: dict[str, Any], mlflow: dict[str, dict[str, Any]]) -> None:
    deployment, service = mlflow["Deployment"]["spec"], mlflow["Service"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items() and service["spec"]["selector"].items() <= labels.items()
    volumes = deployment["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == mlflow["PersistentVolumeClaim"]["metadata"]["name"]
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[words.index("--tracking") + 1] == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"


@pytest.mark.slow
def test_mlflow_takes_its_words_and_answers_to_its_names(mlflow: dict[str, dict[str, Any]]) -> None:
    from mlflow.cli import cli
    from mlflow.server.security_utils import is_allowed_host_header

    (container,) = mlflow["Deployment"]["spec"]["template"]["spec"]["containers"]
    name, command = container["command"]
    given = cli.commands[command].make_context(f"{name} {command}", list(container["args"])).params
    assert given["port"] == container["ports"][0]["containerPort"]
    hosts = given["allowed_hosts"].split(",")
    assert all(is_allowed_host_header(hosts, host) for host in ("mlflow:5000", "localhost:5000", "127.0.0.1:5000"))
    assert not is_allowed_host_header(hosts, "elsewhere.example.org")
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert given["backend_store_uri"].startswith(f"sqlite:///{mounts[0]}/")


def test_the_jobs_entrypoint_is_a_command_of_stockpot(job: dict[str, Any]) -> None:
    from pipelines.commands import studies

    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["stockpot", "run"]
    chosen = studies.chosen(words[2:], "run")
    assert chosen[:2] == ("soup", "tiny") and chosen[3].ray == "auto"


def test_no_manifest_holds_a_secret() -> None:
    """Secrets are named, never given: no document of kind Secret, no value of a variable that is named as a secret is."""
    for path in sorted(DEPLOY.glob("*.yaml")):
        text = path.read_text()
        assert "kind: Secret" not in text
        assert not re.findall(r"(?i)name: \w*(?:token|secret_access|password|api_?key)\w*, value:", text)
        assert not re.findall(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", text)
