"""The only reader of the environment: where things lie unless a flag says otherwise, and how fsspec is configured in a process."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TextIO


def default_store() -> str:
    """`STOCKPOT_STORE`, else the folder `store` below the current one."""
    return os.environ.get("STOCKPOT_STORE", "store")


def default_tracking() -> str:
    """`MLFLOW_TRACKING_URI`, else "" (a database beside a local store)."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def default_prices() -> str:
    """`STOCKPOT_PRICES`, the file with the price of an hour of each kind of node, else "" (none)."""
    return os.environ.get("STOCKPOT_PRICES", "")


def metadata_service() -> str:
    """Where a machine of AWS asks about itself: `AWS_EC2_METADATA_SERVICE_ENDPOINT`, as Amazon's own tools have it."""
    return os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")


def default_cluster() -> str:
    """The address of a cluster's job server as Ray's own commands find it: `RAY_API_SERVER_ADDRESS`, else `RAY_ADDRESS`, else ""."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS", "")


def forget_dashboard() -> None:
    """Let Ray, where it looks for a cluster itself, not take the address of a dashboard for one."""
    if os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://")):
        del os.environ["RAY_ADDRESS"]


def token_file() -> str:
    """`RAY_AUTH_TOKEN_PATH`, the file with the token of a cluster, else "" (`~/.ray/auth_token`)."""
    return os.environ.get("RAY_AUTH_TOKEN_PATH", "")


def ray_cluster() -> tuple[str, str]:
    """(name, namespace) of the RayCluster whose pod this is, as KubeRay tells each of its containers and Kubernetes each pod, else ("", "")."""
    if not (name := os.environ.get("RAY_CLUSTER_NAME", "")):
        return "", ""
    told = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return name, os.environ.get("RAY_CLUSTER_NAMESPACE") or (told.read_text() if told.exists() else "default")


def use_cluster(address: str) -> None:
    """Ray's client obeys the environment before its own argument."""
    os.environ["RAY_API_SERVER_ADDRESS"] = address


def source_wanted() -> str:
    """`STOCKPOT_SOURCE`: in the processes of a run on a cluster, the digest of its source."""
    return os.environ.get("STOCKPOT_SOURCE", "")


@functools.cache
def secrets() -> tuple[str, ...]:
    """The values of all variables that are named as secrets are, longest first; short ones are words that stand elsewhere too."""
    named = re.compile(r"(SECRET|TOKEN|PASSW|CREDENTIAL|API_?KEY|PRIVATE_?KEY)(?!.*_(FILE|PATH|DIR|URI|URL)$)", re.IGNORECASE)
    found = {value for name, value in os.environ.items() if named.search(name) and len(value) >= 8}
    return tuple(sorted(found, key=len, reverse=True))


def cache_folder() -> str:
    """The node's cache of decoded data: `STOCKPOT_CACHE`, else below the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return os.environ.get("STOCKPOT_CACHE") or os.path.join(home, "stockpot", "data")


def configure(*, worker: bool = False) -> None:
    """Give this process the project's clients of S3 and of web servers; every process of ours does so before it reads or writes anything.

    `STOCKPOT_PATIENCE`: seconds for which a request to an object store is tried again (120). A command gives up sooner on an address where
    nothing ever answered; a `worker`, whose command met the store, does not. `STOCKPOT_ALLOW_HOSTS`: link-local hosts that a URL may lead to.
    """
    from fsspec import register_implementation
    from fsspec.config import conf

    for scheme, place in (("s3", "s3.S3"), ("s3a", "s3.S3"), ("http", "http.HTTP"), ("https", "http.HTTP")):
        register_implementation(scheme, f"infra.store.{place}", clobber=True, errtxt=f"{scheme}:// needs s3fs and aiohttp; pip install s3fs aiohttp")
    told = os.environ.get("STOCKPOT_PATIENCE", "")
    if told and not told.replace(".", "", 1).isdigit():
        raise ValueError(f"STOCKPOT_PATIENCE={told}: give seconds, e.g. 120")
    patience = float(told or 120)
    conf.setdefault("s3", {}).update(patience=patience, **({"unmet": patience} if worker else {}))
    conf.setdefault("http", {})["allowed"] = tuple(os.environ.get("STOCKPOT_ALLOW_HOSTS", "").replace(",", " ").split())


def state_folder(store: str) -> str:
    """Where this machine keeps what it knows of the runs in a remote store: below `STOCKPOT_STATE`, else the user's folder for such things."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return os.path.join(os.environ.get("STOCKPOT_STATE") or os.path.join(home, "stockpot"), hashlib.sha256(store.encode()).hexdigest()[:16])


def for_children(root: str, **more: str) -> None:
    """Settings that child processes inherit, where nothing else is set: the packages' folder on their path, threads that do not spin."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths if root in paths else [root, *paths])
    for name, value in {"OMP_WAIT_POLICY": "passive", **more}.items():  # spinning threads under contention cost ten times
        os.environ.setdefault(name, value)


def python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def on_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person watches a stream (None: standard output): a terminal that can redraw, outside CI."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI")
