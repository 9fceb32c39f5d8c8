"""Gram matrices of real towers against hooks and definitions, and RegMean against least squares."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.data.digits import Digits
from components.data.split import Sample
from components.merge.regmean import gram, regmean
from components.models import build
from components.models.openclip import fresh
from components.types import Diverged, Local
from components.weights import Checkpoint, Policy
from components.weights.statistics import Statistics

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 2}, "preprocess_cfg": {}, "ancestry": "base"}
WIDE = Policy(dtype="float64")
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}


def seen(one: Any, n: int, run: Local) -> tuple[Any, torch.Tensor]:
    chosen = Sample(Digits(), n).open(run)
    return build(one), torch.from_numpy(np.stack(chosen.images(range(n)))).permute(0, 3, 1, 2)


def test_every_linear_map_of_a_transformer_is_measured(zero: Any, run: Local) -> None:
    found = gram(zero, Digits(), examples=40, run=run)
    block = "visual.transformer.resblocks.0."
    maps = {f"{block}attn.in_proj_weight", f"{block}attn.out_proj.weight", f"{block}mlp.c_fc.weight", f"{block}mlp.c_proj.weight"}
    assert set(found.part.layout) == maps | {"visual.proj", "head.weight"}
    assert found.facts["inputs_first"] == ["visual.proj"] and found.facts["examples"] == 40
    module, images = seen(zero, 40, run)
    inputs: dict[str, torch.Tensor] = {}
    hooked = module.model.visual.transformer.resblocks[0]
    for name, layer in (("mlp.c_fc", hooked.mlp.c_fc), ("mlp.c_proj", hooked.mlp.c_proj), ("attn.in_proj", hooked.ln_1)):
        after = name == "attn.in_proj"  # what ln_1 gives is what attention takes
        layer.register_forward_hook(lambda _, args, out, name=name, after=after: inputs.update({name: out if after else args[0]}))
    module.model.visual.ln_post.register_forward_hook(lambda _, args, out: inputs.update(proj=out[:, 0]))
    with torch.no_grad():
        inputs["head"] = module.features(images)
        q, k, v = torch.nn.functional.linear(inputs["attn.in_proj"], hooked.attn.in_proj_weight, hooked.attn.in_proj_bias).chunk(3, dim=-1)
        split = [x.unflatten(-1, (2, 16)).transpose(1, 2) for x in (q, k, v)]
        weights = (split[0] @ split[1].transpose(-1, -2) / 4).softmax(-1)
        inputs["attn.out_proj"] = (weights @ split[2]).transpose(1, 2).flatten(-2)
    names = {"proj": "visual.proj", "head": "head.weight", "attn.in_proj": f"{block}attn.in_proj_weight"}
    for name, rows in inputs.items():
        flat = rows.flatten(0, -2).double().numpy()
        got = found.array(names.get(name, f"{block}{name}.weight"))
        np.testing.assert_allclose(got, flat.T @ flat, rtol=1e-3, atol=1e-4 * np.abs(got).max(), err_msg=name)
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_attention_pool_of_a_resnet_is_measured(tiny: Any, run: Local) -> None:
    one = fresh(replace(tiny, vision=json.dumps(RESNET)), 0, run=run)
    pool = {f"visual.attnpool.{name}_proj.weight" for name in "qkvc"}
    found = gram(one, Digits(), examples=3, run=run)
    assert set(found.part.layout) == pool
    assert np.array_equal(found.array("visual.attnpool.q_proj.weight"), found.array("visual.attnpool.v_proj.weight"))


def linear(seed: int, rank: int = 6, dead: int = 0) -> tuple[Checkpoint, Statistics, np.ndarray]:
    """(model, gram, inputs X) of two maps of the same inputs, one stored either way; `dead` inputs are always 0."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(50, rank)) @ random.normal(size=(rank, 6))
    x[:, :dead] = 0
    model = Checkpoint.of({"w": random.normal(size=(4, 6)), "proj": random.normal(size=(6, 4)), "bias": random.normal(size=4)}, SPEC)
    return model, Statistics.of({"w": x.T @ x, "proj": x.T @ x}, {"is": "gram", "model": model.digest, "inputs_first": ["proj"]}), x


def of(found: Any) -> dict[str, np.ndarray]:
    return dict(found.tensors())


@pytest.mark.parametrize("dead", [0, 2])
def test_at_one_it_is_least_squares(dead: int, run: Local) -> None:
    models, grams, xs = zip(*(linear(i, dead=dead) for i in range(3)), strict=True)
    found = of(regmean(list(models), list(grams), 1.0, WIDE, run=run))
    for key, turn in (("w", np.transpose), ("proj", np.asarray)):
        target = np.concatenate([x @ turn(of(one)[key]) for x, one in zip(xs, models, strict=True)])
        expected = np.linalg.lstsq(np.concatenate(xs), target)[0]
        mean = np.mean([turn(of(one)[key]) for one in models], axis=0)
        np.testing.assert_allclose(turn(found[key])[dead:], expected[dead:], atol=1e-5)
        np.testing.assert_allclose(turn(found[key])[:dead], mean[:dead], atol=1e-12)  # inputs that are always 0
    np.testing.assert_allclose(found["bias"], np.mean([of(one)["bias"] for one in models], axis=0), rtol=1e-12)


def test_at_zero_it_weights_inputs_by_their_power_and_at_a_it_is_the_formula(run: Local) -> None:
    models, grams, _ = zip(*(linear(i) for i in range(3)), strict=True)
    for a in (0.0, 0.9):
        g = [np.where(np.eye(6), one.array("w"), a * one.array("w")) for one in grams]
        expected = np.linalg.inv(sum(g)) @ sum(one @ of(model)["proj"] for one, model in zip(g, models, strict=True))
        found = of(regmean(list(models), list(grams), a, WIDE, run=run))
        np.testing.assert_allclose(found["proj"], expected, atol=1e-5)
        if a == 0:
            power = np.stack([one.array("w").diagonal() for one in grams])[:, None]
            np.testing.assert_allclose(found["w"], (power * [of(one)["w"] for one in models]).sum(0) / power.sum(0), rtol=1e-6)


def test_equal_inputs_give_the_mean_dependent_ones_too_and_one_model_itself(run: Local) -> None:
    for rank in (6, 2):
        models = [linear(i)[0] for i in range(3)]
        shared = linear(9, rank)[1]
        same = [Statistics.of({key: shared.array(key) for key in ("w", "proj")}, {"is": "gram", "inputs_first": ["proj"]}) for _ in models]
        found = of(regmean(models, same, 1.0, WIDE, run=run))
        for key, array in found.items():
            np.testing.assert_allclose(array, np.mean([of(one)[key] for one in models], axis=0), atol=1e-8)
    model, one, _ = linear(0)
    assert all(array.tobytes() == of(model)[key].tobytes() for key, array in of(regmean([model], [one], run=run)).items())


def test_the_order_of_the_models_cannot_show(run: Local) -> None:
    models, grams, _ = zip(*(linear(i) for i in range(3)), strict=True)
    one, turned = (of(regmean(list(m), list(g), run=run)) for m, g in ((models, grams), (models[::-1], grams[::-1])))
    assert all(one[key].tobytes() == turned[key].tobytes() for key in one)


def test_where_it_was_computed_cannot_show(tmp_path: Path) -> None:
    models, grams, _ = zip(*(linear(i) for i in range(2)), strict=True)
    digests = []
    for name in ("one", "other"):
        found = regmean(list(models), list(grams), run=Local(f"{tmp_path}/{name}"))
        digests.append([file.digest for file in found.save(f"{tmp_path}/{name}/saved")])
    assert digests[0] == digests[1]


def test_what_does_not_fit_is_refused(zero: Any, run: Local) -> None:
    (first, one, _), (second, other, _) = linear(0), linear(1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        regmean([first], [one], 1.5, run=run)
    with pytest.raises(ValueError, match="statistics 0 are of another model"):
        regmean([first, second], [other, one], run=run)
    with pytest.raises(ValueError, match=r"w is \[4, 6\] in .* and its Gram matrix \[3, 3\]"):
        regmean([first], [Statistics.of({"w": np.eye(3)}, {"is": "gram", "inputs_first": []})], run=run)
    with pytest.raises(ValueError, match="has no other"):
        regmean([first], [Statistics.of({"other": np.eye(3)}, {"is": "gram", "inputs_first": []})], run=run)
    broken = Checkpoint.of({**of(zero), "visual.conv1.weight": np.full_like(of(zero)["visual.conv1.weight"], np.nan)}, zero.spec)
    with pytest.raises(Diverged, match=r"inputs of visual\..* not finite"):
        gram(broken, Digits(), examples=1, run=run)
