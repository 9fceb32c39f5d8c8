"""What nodes ask for, against machines on paper: refused, waited for, or on CPUs."""

from __future__ import annotations

from typing import Any

import pytest

from infra.backends.cluster.growth import Kind, kinds
from infra.backends.cluster.resources import Capacity, at_once, bundle, needs
from infra.dag import CPU, GPU, Resources, call
from infra.node import placed
from tests.infra.toys import number, shares

HEAD: Kind = ({"node:__internal_head__": 1.0, "memory": 4e9}, 1)
SMALL: Kind = ({"CPU": 4.0, "memory": 16e9}, 1)
LARGE: Kind = ({"CPU": 8.0, "GPU": 4.0, "accelerator_type:L4": 1.0, "memory": 64e9}, 1)
FILE: dict[str, Any] = {
    "max_workers": 3,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}},
        "gpu": {"resources": {"CPU": 8, "GPU": 4}, "max_workers": 9},
        "cpu": {"resources": {"CPU": 2}, "max_workers": 1},
    },
}


def cluster(*nodes: Kind) -> Capacity:
    return Capacity(nodes=[HEAD, *nodes])


def growing(*nodes: Kind) -> Capacity:
    return Capacity(nodes=[HEAD, *nodes], growth=kinds(FILE), grows=True)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"cpus": -1}, "cpus -1: give a number from 0"),
        ({"memory": float("inf")}, "memory inf"),
        ({"gpus": 1.5}, "gpus 1.5: give a whole number"),
        ({"workers": 0}, "workers 0: give 1 or more"),
        ({"gpus": 0.5, "workers": 2}, "2 workers with 0.5 gpus"),
        ({"cpus": 0, "workers": 2}, "give whole GPUs, or some CPUs"),
        ({"accelerator": "L4"}, "accelerator L4 without gpus"),
    ],
)
def test_resources_that_nothing_can_have_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Resources(**wrong)
    assert "\n" not in str(caught.value)


def test_what_a_user_gives_stands_for_gpu_and_workers_go_to_components_that_have_ranks() -> None:
    own = Resources(cpus=4, gpus=2, workers=3)
    assert placed(call(shares, on=GPU, values=[1.0]), own) == own
    assert placed(call(number, on=GPU, value=1), own) == Resources(cpus=4, gpus=2)
    assert placed(call(number, value=1), own) == CPU and placed(call(number, on=Resources(gpus=7), value=1), own).gpus == 7


def test_nothing_of_it_is_identity() -> None:
    from infra.dag import Fingerprints

    nodes = [call(shares, on=on, values=[1.0]) for on in (CPU, GPU, Resources(cpus=2, gpus=4, memory=1e9, accelerator="L4", workers=2))]
    assert len({Fingerprints().of(node) for node in nodes}) == 1


def test_ray_is_asked_for_all_of_it() -> None:
    options = needs(Resources(cpus=2, gpus=0.5, memory=3e9, accelerator="L4"))
    assert options == {"num_cpus": 2, "num_gpus": 0.5, "memory": 3e9, "accelerator_type": "L4"}
    assert bundle(options) == {"CPU": 2, "GPU": 0.5, "memory": 3e9, "accelerator_type:L4": 0.001}
    assert at_once(options, {"CPU": 64.0, "GPU": 2.0, "memory": 64e9, "accelerator_type:L4": 1.0}) == 4


@pytest.mark.parametrize(
    ("on", "lacks"),
    [
        (Resources(gpus=8), "needs 8 GPU on one node, the cluster has at most 4 GPU on one (8 GPU in all); ask for less (--on)"),
        (Resources(gpus=16), "needs 16 GPU on one node, the cluster has at most 4 GPU on one (8 GPU in all); ask for less (--on)"),
        (Resources(cpus=64), "needs 64 CPU on one node, the cluster has at most 8 CPU on one (20 CPU in all); ask for less (--on)"),
        (Resources(gpus=1, memory=100e9), "needs 100 GB memory on one node, the cluster has at most 64 GB memory on one (148 GB memory in all)"),
        (Resources(gpus=1, accelerator="A100"), "needs accelerator A100, the cluster has no accelerator A100; ask for less (--on)"),
        (Resources(cpus=1, gpus=1, workers=9), "needs 9 workers with 1 CPU and 1 GPU each, the cluster has room for 8; ask for less (--on)"),
        (Resources(cpus=3, workers=6), "needs 6 workers with 3 CPU each, the cluster has room for 5"),
        (Resources(gpus=4, workers=2), ""),
        (Resources(gpus=0.5, accelerator="L4", memory=60e9), ""),
        (Resources(cpus=4, workers=5), ""),
        (GPU, ""),
    ],
)
def test_a_fixed_cluster_refuses_what_it_has_not_got(on: Resources, lacks: str) -> None:
    own = cluster(SMALL, LARGE, LARGE)
    assert own.refusal(own.settled(on)).startswith(lacks) and bool(own.refusal(on)) == bool(lacks)


def test_what_is_on_two_machines_is_on_no_one() -> None:
    own = cluster(({"CPU": 1.0, "GPU": 1.0}, 1), ({"CPU": 8.0}, 1))
    assert own.refusal(Resources(cpus=2, gpus=1)) == "needs 2 CPU and 1 GPU on one node, the cluster has no node with all of it; ask for less (--on)"


def test_a_wish_for_a_gpu_falls_back_only_where_there_can_be_none() -> None:
    wish = Resources(cpus=2, gpus=2, accelerator="L4", exact=False, memory=1e9, workers=2)
    assert cluster(SMALL).settled(wish) == Resources(cpus=2, exact=False, memory=1e9, workers=2)
    assert cluster(LARGE).settled(wish) == growing().settled(wish) == wish
    assert cluster(SMALL).settled(Resources(gpus=1)) == Resources(gpus=1)
    assert Capacity(nodes=[HEAD], grows=True).settled(GPU).gpus == 0  # its autoscaler does not tell of any


def test_a_growing_cluster_waits_for_what_it_can_grow_to_and_refuses_the_rest() -> None:
    own = growing()
    assert not own.empty and own.reach["GPU"] == 12 and own.have.get("CPU") is None
    assert own.pending(GPU) == "needs 1 GPU, the cluster has 0 GPU; it can grow to 26 CPU and 12 GPU"
    assert not own.refusal(GPU) and not own.refusal(Resources(gpus=4, workers=3))
    there = "the cluster can grow to at most 4 GPU on one (12 GPU in all)"
    assert own.refusal(Resources(gpus=8)) == f"needs 8 GPU on one node, {there}; ask for less (--on)"
    assert own.refusal(Resources(gpus=4, workers=4)).startswith("needs 4 workers with 1 CPU and 4 GPU each, the cluster can grow to room for 3")
    grown = growing(LARGE)
    assert not grown.pending(GPU)
    assert grown.pending(Resources(gpus=4, workers=2)).endswith("the cluster has room for 1; it can grow to 26 CPU and 12 GPU")


def test_a_kind_of_gpu_that_no_machine_is_said_to_have_is_refused() -> None:
    """Ray's autoscaler would start none either."""
    told = Capacity(nodes=[HEAD], growth=[LARGE], grows=True)
    assert not told.refusal(Resources(gpus=1, accelerator="L4"))
    assert told.refusal(Resources(gpus=1, accelerator="A100")).startswith("needs accelerator A100, the cluster can grow to no accelerator A100; ")
    assert growing().refusal(Resources(gpus=1, accelerator="L4")).startswith("needs accelerator L4")


def test_an_autoscaler_that_does_not_tell_its_limits_is_waited_for() -> None:
    own = Capacity(nodes=[HEAD, SMALL], grows=True)
    assert not own.refusal(Resources(gpus=1)) and own.pending(Resources(gpus=1)).endswith("has 0 GPU; its autoscaler does not tell how far it grows")


def test_a_machine_that_left_a_fixed_cluster_is_waited_for() -> None:
    assert cluster(SMALL).pending(Resources(gpus=1)) == "needs 1 GPU, the cluster has 0 GPU; it goes on once more have joined"


def test_a_cluster_whose_workers_are_still_to_come_is_empty_and_nothing_divides_by_it() -> None:
    own = cluster()
    assert own.empty and own.facts() == {"cpus": 0, "gpus": 0, "most_cpus": 0, "most_gpus": 0}
    assert at_once(needs(GPU), own.reach) == own.groups(Resources(workers=2)) == 1
    assert not cluster(SMALL).empty and not Capacity(local=True).empty


def test_as_many_groups_are_driven_as_there_is_room_for() -> None:
    own = cluster(SMALL, LARGE)
    asked = (CPU, Resources(workers=2), Resources(workers=5), Resources(gpus=2, workers=2), Resources(workers=99))
    assert [own.groups(on) for on in asked] == [0, 6, 2, 1, 1]
    assert growing().groups(Resources(gpus=2, workers=2)) == 3
