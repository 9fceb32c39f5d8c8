"""The cluster file is one that Ray takes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


def valid(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_rays_own_schema_takes_it(cluster: dict[str, Any]) -> None:
    valid(cluster)


@pytest.mark.parametrize("typo", ["max_worker", "providr"])
def test_rays_own_schema_refuses_a_typo(cluster: dict[str, Any], typo: str) -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        valid({**cluster, typo: 1})


def test_no_trial_runs_on_the_head_and_idle_machines_go(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"]["CPU"] == 0
    assert all(kind["min_workers"] == 0 for kind in types.values())
    assert cluster["idle_timeout_minutes"] <= 15
