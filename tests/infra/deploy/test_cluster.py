"""The cluster file is one that Ray takes, and closes what has to be closed."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


def prepared(cluster: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` does before it asks AWS anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(copy.deepcopy(cluster))
    validate_config(whole)
    return whole


def started(cluster: dict[str, Any], node: str) -> tuple[str, dict[str, str]]:
    """The command that starts Ray on a node, and its flags."""
    stop, command, *_ = cluster[f"{node}_start_ray_commands"]
    assert stop.endswith("ray stop")
    flags = [word for word in shlex.split(command.partition("ray start")[2]) if word.startswith("--")]
    return command, {flag.partition("=")[0]: flag.partition("=")[2] for flag in flags}


def test_rays_own_schema_takes_it(cluster: dict[str, Any]) -> None:
    whole = prepared(cluster)
    assert whole["setup_commands"] == whole["head_setup_commands"] == whole["worker_setup_commands"]  # of Ray's defaults, none is left


@pytest.mark.parametrize("typo", ["max_worker", "providr"])
def test_rays_own_schema_refuses_a_typo(cluster: dict[str, Any], typo: str) -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        prepared({**cluster, typo: 1})


def test_no_trial_runs_on_the_head_and_idle_machines_go(cluster: dict[str, Any]) -> None:
    types = prepared(cluster)["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"]["CPU"] == 0 and started(cluster, "head")[1]["--num-cpus"] == "0"
    assert all(kind["min_workers"] == 0 for kind in types.values())
    assert cluster["idle_timeout_minutes"] <= 15 and cluster["provider"]["cache_stopped_nodes"] is False


def test_only_gpu_machines_may_be_taken_away(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    spot = {name for name, kind in types.items() if kind["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}}
    assert spot == {name for name, kind in types.items() if kind["resources"].get("GPU")} == set(types) - {"head", "cpu"}


def test_no_port_is_open_to_the_world(cluster: dict[str, Any]) -> None:
    """Ray's own default is a group with port 22 open to all addresses, and a dashboard on every interface."""
    machines = [kind["node_config"] for kind in cluster["available_node_types"].values()]
    assert all(machine["SecurityGroupIds"] and machine["IamInstanceProfile"] for machine in machines)
    assert all(machine["MetadataOptions"] == {"HttpTokens": "required"} for machine in machines)
    assert started(cluster, "head")[1]["--dashboard-host"] == "127.0.0.1"


def test_every_node_has_the_token_and_asks_for_it(cluster: dict[str, Any]) -> None:
    from ray._private.authentication.authentication_token_setup import _get_default_token_path

    below_home = _get_default_token_path().relative_to(Path.home())
    assert cluster["file_mounts"][f"/home/{cluster['auth']['ssh_user']}/{below_home}"] == f"~/{below_home}"
    for node in ("head", "worker"):
        command, _ = started(cluster, node)
        assert command.index("export RAY_AUTH_MODE=token") < command.index("ray start")


def test_workers_find_the_head(cluster: dict[str, Any]) -> None:
    assert started(cluster, "worker")[1]["--address"] == f"$RAY_HEAD_IP:{started(cluster, 'head')[1]['--port']}"


@pytest.mark.slow
@pytest.mark.parametrize("node", ["head", "worker"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.serve")  # Ray's command line loads it, which has some of its own
def test_rays_command_line_takes_the_flags(cluster: dict[str, Any], node: str) -> None:
    from ray.scripts.scripts import start

    command, flags = started(cluster, node)
    read = start.make_context("ray start", shlex.split(command.partition("ray start")[2])).params
    assert {name for name, value in read.items() if value} >= {flag[2:].replace("-", "_") for flag in flags} - {"num_cpus"}
    assert read["num_cpus"] == (0 if node == "head" else None)


def test_its_commands_are_shell_and_its_files_are_there(cluster: dict[str, Any]) -> None:
    commands = [command for name, listed in cluster.items() if name.endswith("_commands") for command in listed]
    for command in commands:
        assert subprocess.run(["bash", "-n", "-c", command], stderr=subprocess.PIPE).stderr == b""
    named = {path for command in commands for path in re.findall(r"~/stockpot/([\w./]+)", command)}
    assert named and all((ROOT / path).is_file() for path in named)


def test_what_is_to_be_replaced_is_told(cluster: dict[str, Any]) -> None:
    """No machine image, group or bucket of somebody else's is named: what a person must give is in capitals, and docs/clusters.md tells how."""
    text, page = (ROOT / "ray_cluster.yaml").read_text(), (ROOT / "docs" / "clusters.md").read_text()
    assert not re.findall(r"\b(?:ami|sg|subnet)-[0-9a-f]{8,}|\barn:aws|\bAKIA", text)
    assert set(re.findall(r"\b[\w-]+-REPLACE\b", text)) == {"ami-REPLACE", "sg-REPLACE"} == set(re.findall(r"\b[\w-]+-REPLACE\b", page))
    profiles = {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in cluster["available_node_types"].values()}
    assert all(name in page for name in profiles)
