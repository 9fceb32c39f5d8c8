"""Who may be averaged with whom: refusals come in one line, from headers alone, and name the thing and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.weights import Checkpoint, Policy, mean

CFG = {"embed_dim": 4, "vision_cfg": {"layers": 2}}


def make(seed: int = 0, tensors: dict[str, Any] | None = None, extras: dict[str, bytes] | None = None, **spec: Any) -> Checkpoint:
    random = np.random.default_rng(seed)
    mine = {"visual.proj": random.normal(size=(4, 4)), "text.proj": random.normal(size=(4, 3)), "head.weight": random.normal(size=(2, 4))}
    mine = {key: array.astype(np.float32) for key, array in mine.items()} | (tensors or {})
    kept = {key: array for key, array in mine.items() if array is not None}
    known = {"name": f"model-{seed}", "model_cfg": CFG, "preprocess_cfg": {"mean": [0.5]}, "classes": ["a", "b"], "ancestry": "root"}
    return Checkpoint.of(kept, {**known, **spec}, extras)


def refused(message: str, *models: Checkpoint, policy: Policy | None = None) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        mean(models, policy).spec  # noqa: B018
    assert "\n" not in str(caught.value)


def test_names_that_differ_are_listed_for_both_sides() -> None:
    many = {f"visual.block.{i}": np.zeros(1, np.float32) for i in range(7)}
    refused(
        r"cannot average model-0 with model-1: parameter names differ, e\.g\. visual\.block\.0; model-1 lacks visual\.block\.0, "
        r"visual\.block\.1, .* and 2 more; model-0 lacks text\.extra; choose common keys by \.only",
        make(0, many),
        make(1, {"text.extra": np.zeros(2, np.float32)}),
    )
    refused("model-1 lacks head.weight", make(0), make(1, {"head.weight": None}))


def test_shapes_that_differ_name_the_key_and_both_shapes() -> None:
    refused(
        r"shapes of head\.weight differ, \[2, 4\] and \[5, 4\]; average the towers alone with \.only\('visual",
        make(0),
        make(1, {"head.weight": np.zeros((5, 4), np.float32)}),
    )
    refused(r"shapes of visual\.proj differ", make(0), make(1, {"visual.proj": np.zeros((4, 5), np.float32)}))


def test_an_integer_is_not_averaged_with_a_float() -> None:
    refused("dtypes of text.proj differ, F32 and I64", make(0), make(1, {"text.proj": np.zeros((4, 3), np.int64)}))


def test_another_configuration_is_refused_by_its_first_difference() -> None:
    refused("model_cfg differs, e.g. quick_gelu is None and True", make(0), make(1, model_cfg={**CFG, "quick_gelu": True}))
    refused("model_cfg differs, e.g. vision_cfg.layers is 2 and 3", make(0), make(1, model_cfg={**CFG, "vision_cfg": {"layers": 3}}))
    assert mean([make(0), make(1, model_cfg={**CFG, "quick_gelu": False})]).spec["model_cfg"] == CFG


def test_another_preprocessing_is_refused_unless_permitted() -> None:
    one, other = make(0), make(1, preprocess_cfg={"mean": [0.4]})
    refused(r"preprocess_cfg differs, e\.g\. mean is \[0\.5\] and \[0\.4\]; .*--unlike-preprocess", one, other)
    assert mean([one, other], Policy(unlike_preprocess=True)).spec["preprocess_cfg"] == {"mean": [0.5]}


def test_another_vocabulary_is_refused() -> None:
    refused("their bpe.txt.gz differ", make(0, extras={"bpe.txt.gz": b"x"}), make(1, extras={"bpe.txt.gz": b"y"}))


@pytest.mark.parametrize(
    ("what", "values", "message"),
    [
        ("classes", ["b", "a"], "classes of their heads differ, e.g. number 0 is 'a' and 'b'"),
        ("classes", ["a"], "classes of their heads differ: 2 and 1"),
        ("prompts", ["a {}"], r"prompts of their heads differ: None and \['a {}'\]"),
    ],
)
def test_heads_of_other_classes_or_prompts_are_not_averaged(what: str, values: list[str], message: str) -> None:
    one, other = make(0), make(1, **{what: values})
    refused(message, one, other)
    towers = mean([one.only("visual.*") + one.only("text.*"), other.only(["visual.*", "text.*"])])
    assert "head.weight" not in dict(towers.tensors())


def test_unlike_ancestors_are_refused_with_their_distance() -> None:
    one, other = make(0, ancestry="first"), make(1, ancestry="second")
    refused(r"their ancestors differ \(first and second; relative distance of visual\.proj 1\.\d+\).*--unlike-ancestry", one, other)
    permitted = mean([one, other], Policy(unlike_ancestry=True))
    assert permitted.spec["ancestry"].startswith("recipe-")
    assert permitted.spec["ancestry"] == mean([other, one], Policy(unlike_ancestry=True)).spec["ancestry"]


def test_a_model_without_an_ancestor_is_its_own(tmp_path: Path) -> None:
    root = make(0, ancestry=None)
    root.save(f"{tmp_path}/root")
    stored = Checkpoint(f"{tmp_path}/root")
    assert stored.spec["ancestry"] == root.spec["ancestry"] == root.parts["model"].digest
    tuned = make(1, ancestry=stored.spec["ancestry"])
    assert mean([stored, tuned]).spec["ancestry"] == root.spec["ancestry"]
    refused("their ancestors differ", stored, make(2, ancestry=None))


def test_zeros_of_another_sign_differ_where_nothing_is_averaged() -> None:
    one, other = (make(i, {"text.phase": np.array([1, zero], np.complex64)}) for i, zero in enumerate((0.0, -0.0)))
    with pytest.raises(ValueError, match=r"text\.phase is C64, is never averaged, and differs"):
        list(mean([one, other]).tensors())


def test_ingredients_are_compared_only_where_they_count() -> None:
    """One tower from each of two models, and a stranger with coefficient 0."""
    other = make(1, ancestry="else", classes=["x", "y"])
    stranger = make(2, {"visual.proj": None, "odd": np.zeros(3)}, ancestry="stranger")
    parts = make(0).only(["visual.*", "head.*"]) + other.only("text.*") + 0 * stranger
    found = dict(parts.tensors())
    assert set(found) == {"visual.proj", "text.proj", "head.weight"}
    assert parts.spec["classes"] == ["a", "b"]


def test_integers_that_differ_stop_and_counters_are_copied_and_reported() -> None:
    ids = "text.positions"
    with pytest.raises(ValueError, match=f"{ids} is I64, is never averaged, and differs"):
        dict(mean([make(0, {ids: np.arange(5)}), make(1, {ids: np.arange(5)[::-1]})]).tensors())
    counter = "visual.bn.num_batches_tracked"
    soup = mean([make(i, {counter: np.int64(i)}) for i in range(3)])
    assert dict(soup.tensors())[counter].dtype == np.int64
    assert soup.spec["lineage"]["keys"]["counters"] == [counter]


def statistics(seed: int, **spec: Any) -> Checkpoint:
    drawn = np.random.default_rng(seed).random(3).astype(np.float32)
    return make(seed, {"visual.bn.running_mean": drawn, "visual.bn.running_var": 1 + drawn}, **spec)


def test_trained_batchnorm_is_refused_with_the_remedy_and_follows_the_policy() -> None:
    base = statistics(0, ancestry=None)
    tuned = [statistics(seed, ancestry=base.spec["ancestry"]) for seed in (1, 2)]
    refused(re.escape("say --bn from_base | average | recompute=URL"), *tuned)
    key = "visual.bn.running_var"
    average = dict(mean(tuned, Policy(bn="average")).tensors())[key]
    np.testing.assert_allclose(average, np.mean([dict(one.tensors())[key] for one in tuned], axis=0), rtol=1e-6)
    refused("the common ancestor is not among the ingredients; add 0 [*] base", *tuned, policy=Policy(bn="from_base"))
    kept = (mean(tuned) + 0 * base).under(Policy(bn="from_base"))
    assert dict(kept.tensors())[key].tobytes() == dict(base.tensors())[key].tobytes()
    assert kept.spec["lineage"]["keys"]["from_base"] == ["visual.bn.running_mean", key]


def test_frozen_batchnorm_needs_no_policy() -> None:
    same = {"visual.bn.running_mean": np.ones(3, np.float32)}
    assert dict(mean([make(0, same), make(1, same)]).tensors())["visual.bn.running_mean"].tolist() == [1, 1, 1]
    half = dict(mean([make(0, same), make(1, same)], Policy(dtype="float16")).tensors())
    assert {array.dtype for array in half.values() if array.dtype.kind == "f"} == {np.dtype(np.float16)}


def test_facts_of_the_parts_are_not_the_facts_of_the_whole() -> None:
    soup = mean([make(0).describe(lr=1e-3), make(1).describe(lr=1e-4)]).describe(rule="uniform")
    assert soup.spec["facts"] == {"rule": "uniform"}
    assert make(0, facts={"a": 1}).describe(b=2).spec["facts"] == {"a": 1, "b": 2}
