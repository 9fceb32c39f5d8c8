"""How far a cluster can grow: on its head lies what its autoscaler goes by.

Ray's own files say it where `ray up` made the cluster, and the RayCluster where KubeRay did; the head has the rights to read that as its
autoscaler has. An autoscaler of which neither is found is known by what it reports to Ray, once it has done so.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra import settings

PATIENCE = 60.0  # seconds for a process on the head
ASK = {"KUBERAY_REQUEST_TIMEOUT_S": "10"}  # Ray's own limit for a request to Kubernetes is as long as that
Kind = tuple[Mapping[str, float], float]  # what a machine has, and how many like it there can be


def machines() -> list[dict[str, Any]]:
    """What Ray says of those that are there."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def growth() -> tuple[Sequence[Kind] | None, bool]:
    """(what the cluster's autoscaler may start, None where it does not tell; whether there is one)."""
    found: Sequence[Kind] | None = on_head(limits)
    return found, found is not None or bool(on_head(reported))


def on_head(fn: Callable[[], Any]) -> Any:
    """What a function gives on the machine of the head; None where there is none that runs it."""
    head = next((node["NodeID"] for node in machines() if "node:__internal_head__" in node["Resources"]), None)
    if head is None:
        return None
    there = {"scheduling_strategy": NodeAffinitySchedulingStrategy(head, soft=False), "runtime_env": {"env_vars": ASK}}
    with contextlib.suppress(RayError):
        return ray.get(ray.remote(num_cpus=0, max_retries=0)(fn).options(**there).remote(), timeout=PATIENCE)
    return None


def limits() -> Sequence[Kind] | None:
    """On the head: what its autoscaler goes by."""
    found = cluster_file(ray.get_runtime_context().gcs_address.rpartition(":")[2]) or ray_cluster()
    return kinds(found) if found else None


def reported() -> bool:
    """Whether machines are told of that are called otherwise than those that Ray's autoscalers did not start."""
    return any(not kind.startswith("node_") for kind in [*old(), *new(ray.get_runtime_context().gcs_address)])


def old() -> list[str]:
    """The kinds of machines that Ray's first autoscaler tells of."""
    report = json.loads(_internal_kv_get("__autoscaling_status") or "{}").get("autoscaler_report") or {}
    return [*(report.get("active_nodes") or {}), *(report.get("idle_nodes") or {})]


def new(address: str) -> list[str]:
    """The kinds of machines that Ray's second autoscaler tells of."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(address)
    return [node.ray_node_type_name for node in status.active_nodes + status.idle_nodes] if status.stats.autoscaler_version != "0" else []


def cluster_file(port: str) -> Mapping[str, Any] | None:
    """The file with which the autoscaler of the head on this machine runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = path.read_text(errors="replace").split("\0")
            said = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
            ours = any(word.endswith("monitor.py") for word in words) and said.get("--gcs-address", "").endswith(f":{port}")
            if ours and (file := said.get("--autoscaling-config")):
                return dict(yaml.safe_load(Path(file).expanduser().read_text()))
    return None


def ray_cluster() -> Mapping[str, Any] | None:
    """The RayCluster that this machine is the head of, as a cluster file; None where it is of no KubeRay, does not grow, or may not be read."""
    name, namespace = settings.ray_cluster()
    if not name:
        return None
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    with contextlib.suppress(OSError, ValueError, KeyError):  # so are all errors of requests, and what a RayCluster may lack
        resource = KubernetesHttpApiClient(namespace).get(f"rayclusters/{name}")
        return _derive_autoscaling_config_from_ray_cr(resource) if resource.get("spec", {}).get("enableInTreeAutoscaling") else None
    return None


def kinds(cluster: Mapping[str, Any]) -> list[Kind]:
    """The workers in a cluster file."""
    most, types = cluster.get("max_workers", 0), cluster["available_node_types"]
    workers = (kind for name, kind in types.items() if name != cluster["head_node_type"])
    return [(kind.get("resources", {}), min(most, kind.get("max_workers", most))) for kind in workers]
