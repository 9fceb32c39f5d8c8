"""Learned soups of a real tiny model on real pixels: what the coefficients do, and that nothing of the loop is lost on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from components.data.digits import CLASSES, Digits
from components.data.split import Split
from components.evaluate import predict
from components.merge.learned import LEARN, learned
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.types import Local, revision
from components.updates.sgd import AdamW
from components.weights import Checkpoint, mean
from infra.dag import call
from infra.hygiene import check
from tests.components.test_train import Interrupted

HELD_OUT, TEST, TRAIN = Split(Digits(), 0.0, 0.1), Split(Digits(), 0.1, 0.2), Split(Digits(), 0.2, 1.0)
QUICK = replace(LEARN, lr=0.2, batch=48)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that knows the digits: confidence is earned, so that noise costs."""
    run = Local(str(tmp_path_factory.mktemp("base")))
    zero = zero_shot(pretrained(OpenClip(), run=run), CLASSES, ("the digit {}",), run=run)
    return train(zero, TRAIN, CrossEntropy(), update=AdamW(lr=1e-3, batch=32, warmup=10), steps=60, run=run)


def noisy(base: Any, seed: int, scale: float, where: str = "") -> Checkpoint:
    """`base` with noise, relative to each tensor's spread, in the tensors whose name begins so."""
    random = np.random.default_rng(seed)
    tensors = {
        key: array + (scale * array.std() * random.normal(size=array.shape)).astype(array.dtype) if key.startswith(where) else array
        for key, array in base.tensors()
    }
    return Checkpoint.of(tensors, base.spec, base.extras)


def values(vector: Any) -> dict[str, bytes]:
    return {key: array.tobytes() for key, array in vector.tensors()}


def test_a_model_that_is_mostly_noise_loses_its_share(base: Any, run: Local) -> None:
    models = [noisy(base, 0, 0.05), noisy(base, 1, 1.0, "visual."), noisy(base, 2, 0.05)]
    soup = learned(models, HELD_OUT, epochs=2, update=QUICK, run=run)
    alphas = soup.facts["alphas"]
    assert alphas[1] < 0.2 < 0.4 < min(alphas[0], alphas[2]) and sum(alphas) == pytest.approx(1, abs=1e-5)
    assert soup.facts["learned"]["loss"] < soup.facts["uniform"]["loss"]
    assert soup.facts["learned"]["correct"] == predict(soup, HELD_OUT, run=run).summary()["correct"]
    assert soup.facts["uniform"]["correct"] == predict(mean(models), HELD_OUT, run=run).summary()["correct"]
    assert soup.facts["steps"] == run.history[-1][0] == -(-2 * soup.facts["learned"]["n"] // 48)


def test_coefficients_by_layer_take_from_each_model_what_is_good_in_it(base: Any, run: Local) -> None:
    """One model has a ruined head, the other a ruined tower: no single pair of coefficients mends both."""
    models = [noisy(base, 0, 1.0, "head."), noisy(base, 1, 0.6, "visual.")]
    whole, layers = (learned(models, HELD_OUT, by, 3, QUICK, run=run) for by in ("model", "layer"))
    assert layers.facts["learned"]["loss"] < whole.facts["learned"]["loss"] < whole.facts["uniform"]["loss"]
    alphas = layers.facts["alphas"]
    assert alphas["head.weight"][1] > 0.6 and max(row[0] for key, row in alphas.items() if key.startswith("visual.")) > 0.8
    assert layers.facts["uniform"] == whole.facts["uniform"]


def test_no_epochs_are_the_uniform_soup(base: Any, run: Local, tmp_path: Path) -> None:
    models = [noisy(base, seed, 0.1) for seed in range(3)]
    soup = learned(models, HELD_OUT, epochs=0, run=run)
    assert values(soup) == values(mean(models)) and soup.facts["learned"] == soup.facts["uniform"]
    soup.save(f"{tmp_path}/soup")
    assert Checkpoint(f"{tmp_path}/soup").spec["facts"] == dict(soup.facts)
    with pytest.raises(ValueError, match="-1 epochs"):
        learned(models, HELD_OUT, epochs=-1, run=run)


@pytest.mark.parametrize("by", ["model", "layer"])
def test_interrupted_it_ends_with_the_same_soup(base: Any, run: Local, tmp_path: Path, by: Any) -> None:
    models = [noisy(base, seed, 0.3) for seed in range(2)]
    undisturbed = learned(models, HELD_OUT, by, 2, QUICK, run=run)
    broken = Interrupted(str(tmp_path / "broken"))
    for broken.stop in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            learned(models, HELD_OUT, by, 2, QUICK, run=broken)
    state = load_file(Path(broken.states[-1][1]) / "state.safetensors")
    assert {key for key in state if key.startswith("model:")} == {"model:alpha", "model:log_beta"} and sum(map(np.size, state.values())) < 1000
    broken.stop = -1
    resumed = learned(models, HELD_OUT, by, 2, QUICK, run=broken)
    assert values(resumed) == values(undisturbed) and resumed.facts == undisturbed.facts and resumed.facts["alphas"] != [0.5, 0.5]


@revision(1)
def reported(model: Any, data: Annotated[Any, "reports"]) -> None: ...


def test_what_coefficients_were_learned_on_is_not_reported_on(base: Any) -> None:
    soup = call(learned, models=[call(pretrained, model=OpenClip())], data=HELD_OUT)
    check([*soup.arguments["models"], soup, call(reported, model=soup, data=TEST)])
    with pytest.raises(ValueError, match="examples that were selected on"):
        check([*soup.arguments["models"], soup, call(reported, model=soup, data=HELD_OUT)])
