from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from components.data.digits import Digits
from components.data.examples import Rows
from components.data.split import Split
from components.data.views import Augment
from components.evaluate import predict
from components.metrics import CalibrationError, Top1
from components.models.heads import zero_shot
from components.models.openclip import Config, fresh
from components.objectives.classification import CrossEntropy
from components.objectives.contrastive import Contrastive
from components.train import Monitor, train
from components.types import DataError, Dataset, Diverged, Local, Run
from components.updates.sgd import SGD, AdamW
from components.weights import Checkpoint

TRAIN, HELD_OUT = Split(Digits(), 0.0, 0.6), Split(Digits(), 0.6, 0.8)
VIEWS = Augment(scale=0.8, flip=True, operations=1)


@dataclass
class Interrupted(Local):
    """A run that keeps its states in folders, and stops for good after some steps of each attempt."""

    stop: int = -1
    states: list[tuple[int, str]] = field(default_factory=list)

    def restore(self) -> str | None:
        return self.states[-1][1] if self.states else None

    def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
        if step == self.stop:
            folder = f"{self.dir}/state-{step}"
            write(folder)
            self.states.append((step, folder))
            raise KeyboardInterrupt


def same(one: Any, other: Any) -> bool:
    left, right = dict(one.tensors()), dict(other.tensors())
    return left.keys() == right.keys() and all(left[key].tobytes() == right[key].tobytes() for key in left)


VISION = {"timm_model_name": "test_convnext2", "image_size": 32, "timm_pool": "avg", "timm_proj": "linear"}
GOLDEN = [2.34118, 2.53891, 2.27179, 2.43340, 2.17847, 2.35628, 2.14005, 2.16322, 2.08812, 1.86838]
GOLDEN += [1.85725, 1.58873, 1.87790, 1.91464, 1.70680, 2.11791, 1.66724, 2.13621, 1.63482, 1.68331]


def test_the_golden_loss_curve(run: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 steps of the loop, as they were when it was written. Three kinds of kernels agree to 1e-5; the tolerance is for other machines."""
    monkeypatch.setattr("components.train.EVERY", 1)
    tower = Config(64, json.dumps(VISION), json.dumps({"width": 16, "heads": 2, "layers": 1}))
    init = zero_shot(fresh(tower, 0, run=run), (), ("a photo of the digit {}.",), Digits(), run=run)
    train(init, TRAIN, CrossEntropy(smoothing=0.1, mixup=0.2), update=AdamW(lr=2e-3, batch=64, warmup=5), steps=20, run=run)
    assert [metrics["loss"] for _, metrics in run.history] == pytest.approx(GOLDEN, rel=1e-3)


def test_reports_are_means_over_a_fixed_number_of_steps(zero: Any, run: Local) -> None:
    fine, coarse = Local(f"{run.dir}/fine"), Local(f"{run.dir}/coarse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.train.EVERY", 1)
        train(zero, TRAIN, CrossEntropy(), update=AdamW(lr=1e-3, batch=16, warmup=4), steps=13, run=fine)
    train(zero, TRAIN, CrossEntropy(), update=AdamW(lr=1e-3, batch=16, warmup=4), steps=13, run=coarse)
    assert [step for step, _ in coarse.history] == [10, 13]
    losses = [metrics["loss"] for _, metrics in fine.history]
    assert [metrics["loss"] for _, metrics in coarse.history] == pytest.approx([np.mean(losses[:10]), np.mean(losses[10:])])
    assert coarse.history[-1][1]["lr"] == AdamW(lr=1e-3, warmup=4).rate(12, 13)


CAPTIONED = {"objective": Contrastive(views=VIEWS, prompts=("a {}", "the {}", "{}")), "update": AdamW(lr=1e-3, batch=48, warmup=3)}
RECIPES: dict[str, dict[str, Any]] = {
    "AdamW": {"objective": CrossEntropy(mixup=0.3, views=VIEWS), "update": AdamW(lr=2e-3, batch=48, warmup=3)},
    "SGD": {"objective": CrossEntropy(views=VIEWS), "update": SGD(lr=0.1, batch=48, warmup=3, accumulation=2)},
    "contrastive": CAPTIONED,
    "averaged": {"objective": CrossEntropy(views=VIEWS), "update": AdamW(lr=2e-3, batch=48, warmup=3, average=0.6)},
    "best": {
        "objective": CrossEntropy(views=VIEWS),
        "update": SGD(lr=0.5, batch=48, warmup=0, seed=3),
        "monitor": Monitor(HELD_OUT, every=4, keep="best"),
    },
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_interrupted_training_ends_with_the_same_bits(zero: Any, run: Local, tmp_path: Path, recipe: str) -> None:
    """27 steps of 48 cross the end of an epoch (1,074 examples); the stops are inside reports, before a look, and after the last step."""
    undisturbed = train(zero, TRAIN, steps=27, run=run, **RECIPES[recipe])
    broken = Interrupted(str(tmp_path / "broken"))
    for broken.stop in (4, 13, 20, 27):
        with pytest.raises(KeyboardInterrupt):
            train(zero, TRAIN, steps=27, run=broken, **RECIPES[recipe])
    broken.stop = -1
    resumed = train(zero, TRAIN, steps=27, run=broken, **RECIPES[recipe])
    assert same(resumed, undisturbed) and not same(resumed, zero)
    assert broken.history == run.history
    assert resumed.spec == undisturbed.spec


def test_two_trainings_are_equal_and_seeds_are_not(zero: Any, run: Local) -> None:
    results = [train(zero, TRAIN, CrossEntropy(), update=AdamW(lr=1e-3, batch=32, seed=seed), steps=3, run=run) for seed in (0, 0, 1)]
    assert same(results[0], results[1]) and not same(results[0], results[2])


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 3), (1.0, 6)])
def test_the_average_is_the_mean_of_the_last_weights(zero: Any, run: Local, share: float, count: int) -> None:
    """Of those after each of the last steps, in float64; what no step moves stays as it is. Arpit et al. 2022, arXiv:2110.10832."""
    seen: list[dict[str, np.ndarray]] = []

    @dataclass
    class Watched(Local):
        def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
            write(f"{self.dir}/{step}")
            seen.append({key.removeprefix("model:"): value for key, value in load_file(f"{self.dir}/{step}/state.safetensors").items()})

    fit: dict[str, Any] = {"objective": CrossEntropy(), "params": ("visual.*", "head.*"), "steps": 6}
    train(zero, TRAIN, update=SGD(lr=0.1, batch=16, warmup=0), run=Watched(run.dir), **fit)
    mean = dict(train(zero, TRAIN, update=SGD(lr=0.1, batch=16, warmup=0, average=share), run=run, **fit).tensors())
    for key, before in zero.tensors():
        moved = key.startswith(("visual.", "head."))
        wanted = np.mean([each[key].astype(np.float64) for each in seen[-count:]], axis=0).astype(np.float32) if moved else before
        np.testing.assert_array_equal(mean[key], wanted)


def test_an_average_of_what_batchnorm_saw_is_refused(run: Local) -> None:
    tower = Config(64, json.dumps({**VISION, "timm_model_name": "test_resnet"}), json.dumps({"width": 16, "heads": 2, "layers": 1}))
    init = zero_shot(fresh(tower, 0, run=run), (), ("a photo of the digit {}.",), Digits(), run=run)
    fit: dict[str, Any] = {"objective": CrossEntropy(), "update": SGD(lr=0.1, batch=16, average=0.5), "steps": 1, "run": run}
    with pytest.raises(ValueError, match="leaves BatchNorm's statistics behind"):
        train(init, TRAIN, **fit)
    train(init, TRAIN, params="head.*", **fit)


def test_a_damaged_or_foreign_state_is_refused(zero: Any, tmp_path: Path) -> None:
    run = Interrupted(str(tmp_path), stop=2)
    with pytest.raises(KeyboardInterrupt):
        train(zero, TRAIN, CrossEntropy(), update=AdamW(batch=16), steps=4, run=run)
    with pytest.raises(DataError, match="training state of something else"):
        train(zero, TRAIN, CrossEntropy(), update=AdamW(batch=16), steps=4, params="head.*", run=run)
    folder = Path(run.states[-1][1])
    facts = (folder / "state.json").read_text()
    for name, content in (("state.json", "{"), ("state.json", facts.replace('"format": 1', '"format": 2')), ("state.safetensors", "short")):
        before = (folder / name).read_bytes()
        (folder / name).write_text(content)
        with pytest.raises(DataError, match="remove it"):
            train(zero, TRAIN, CrossEntropy(), update=AdamW(batch=16), steps=4, run=run)
        (folder / name).write_bytes(before)


def moved(before: Any, after: Any) -> set[str]:
    left, right = dict(before.tensors()), dict(after.tensors())
    assert left.keys() == right.keys()
    return {key for key in left if left[key].tobytes() != right[key].tobytes()}


def test_only_what_matches_moves(zero: Any, run: Local) -> None:
    def tuned(params: Any, objective: Any = None) -> set[str]:
        update = AdamW(lr=1e-2, batch=32, warmup=0)
        return moved(zero, train(zero, TRAIN, objective or CrossEntropy(), update=update, params=params, steps=2, run=run))

    assert tuned("head.*") == {"head.weight", "head.bias"}
    visual = {key for key, _ in zero.tensors() if key.startswith("visual.")}
    assert tuned(("!visual.conv1.*", "visual.*")) == visual - {"visual.conv1.weight"}
    assert tuned("*") == visual | {"head.weight", "head.bias"}  # cross-entropy never reads the text tower
    text = tuned(("!visual.*", "!head.*", "*"), Contrastive(prompts=("a {}",)))
    assert "logit_scale" in text and not any(key.startswith(("visual.", "head.")) for key in text)
    with pytest.raises(ValueError, match="leaves nothing to train: match some of"):
        tuned("text.*")


def test_the_result_is_stored_as_the_init_was(zero: Any, run: Local) -> None:
    half = Checkpoint.of({key: value.astype(np.float16 if value.ndim > 1 else np.float64) for key, value in zero.tensors()}, zero.spec)
    result = train(half, TRAIN, CrossEntropy(), update=AdamW(lr=1e-3, batch=32, warmup=0), steps=2, params="visual.*", run=run)
    assert {key: value.dtype for key, value in result.tensors()} == {key: value.dtype for key, value in half.tensors()}
    assert all(key.startswith("visual.") for key in moved(half, result)) and moved(half, result)


def test_no_steps_change_nothing(zero: Any, run: Local) -> None:
    result = train(zero, TRAIN, CrossEntropy(), update=AdamW(), steps=0, run=run)
    assert same(result, zero) and run.history == []
    with pytest.raises(ValueError, match="-1 steps"):
        train(zero, TRAIN, CrossEntropy(), update=AdamW(), steps=-1, run=run)


def test_the_result_tells_how_it_was_made_and_where_it_came_from(zero: Any, run: Local) -> None:
    once = train(zero, TRAIN, CrossEntropy(), update=AdamW(lr=1e-3, batch=32), params="head.*", steps=2, run=run)
    twice = train(once, TRAIN, CrossEntropy(smoothing=0.1), update=SGD(batch=32), steps=1, run=run)
    assert twice.spec["ancestry"] == zero.spec["ancestry"] and twice.spec["classes"] == zero.spec["classes"]
    first, second = twice.spec["facts"]["training"]
    assert (first["params"], first["steps"], first["update"]["lr"], first["examples"]) == ("head.*", 2, 1e-3, 1074)
    assert (second["objective"]["smoothing"], second["update"]["is"], second["loss"]) == (0.1, "SGD", run.history[-1][1]["loss"])
    json.dumps(twice.spec, allow_nan=False)


def test_a_loss_that_is_not_finite_stops_and_names_its_step(zero: Any, run: Local) -> None:
    tensors = dict(zero.tensors())
    broken = Checkpoint.of({**tensors, "head.weight": tensors["head.weight"] * np.inf}, zero.spec)
    with pytest.raises(Diverged, match=r"loss is nan at step 1:"):
        train(broken, TRAIN, CrossEntropy(), update=AdamW(batch=16), steps=3, run=run)
    with pytest.raises(Diverged, match=r"at step [2-9]:|not finite after"):
        train(zero, TRAIN, CrossEntropy(), update=SGD(lr=1e38, clip=0.0, warmup=0, batch=16), steps=9, run=run)
    assert not any(np.isnan(list(metrics.values())).any() for _, metrics in run.history)


def test_weights_that_diverge_in_the_last_step_are_not_returned(zero: Any, run: Local) -> None:
    with pytest.raises(Diverged, match="is not finite after step 1"):
        train(zero, TRAIN, CrossEntropy(), update=SGD(lr=1e39, clip=0.0, warmup=0, batch=16), steps=1, run=run)


@dataclass(frozen=True)
class Given(Dataset):
    labels: tuple[int, ...]

    def open(self, run: Run) -> Rows:
        n = len(self.labels)
        ids, labels = np.array([str(i) for i in range(n)]), np.array(self.labels, np.int64)
        return Rows(ids, labels, np.zeros((n, 32, 32, 3), np.uint8), str(self.labels))

    def parts(self) -> Any:
        return ((self, 0.0, 1.0),)


def test_data_that_cannot_be_learned_from(base: Any, zero: Any, run: Local) -> None:
    for init, data, reason in (
        (zero, Given(()), "no example to train on"),
        (zero, Given((0, -1, 1)), "1 of 3 examples have no label"),
        (zero, Given((0, 12)), "beyond the head's 10 classes"),
        (base, Given((0, 1)), "needs a head"),
    ):
        with pytest.raises(ValueError, match=reason):
            train(init, data, CrossEntropy(), update=AdamW(batch=4), steps=1, run=run)


def test_fewer_examples_than_a_batch_repeat(zero: Any, run: Local) -> None:
    result = train(zero, Given((0, 1, 2)), CrossEntropy(), update=AdamW(lr=1e-3, batch=8), steps=2, run=run)
    assert not same(result, zero)


@pytest.mark.parametrize("metric", [Top1(), CalibrationError()])
def test_the_monitor_returns_the_best_weights_it_saw(zero: Any, run: Local, metric: Any) -> None:
    kept = train(
        zero, TRAIN, CrossEntropy(), update=SGD(lr=0.5, batch=32, warmup=0), steps=30, monitor=Monitor(HELD_OUT, metric, 5, "best"), run=run
    )
    name = metric(predict(kept, HELD_OUT, run=run)).metric
    seen = {step: metrics[name] for step, metrics in run.history if name in metrics}
    assert list(seen) == [5, 10, 15, 20, 25, 30]
    best = (max if metric.ascending else min)(seen.values())
    assert metric(predict(kept, HELD_OUT, run=run)).value == best
    assert kept.spec["facts"]["training"][-1]["monitor"]["step"] == next(step for step, value in seen.items() if value == best)


def test_watching_changes_nothing(zero: Any, run: Local) -> None:
    recipe: dict[str, Any] = {"objective": CrossEntropy(), "update": AdamW(lr=1e-3, batch=32), "steps": 6, "run": run}
    assert same(train(zero, TRAIN, monitor=Monitor(HELD_OUT, every=2), **recipe), train(zero, TRAIN, **recipe))


def test_what_watches_shows_that_it_goes_on(tmp_path: Path) -> None:
    """With each batch between two steps; what the monitor is shown is decoded before the first one."""

    @dataclass
    class Waiting(Local):
        told: list[str] = field(default_factory=list)

        def alive(self) -> None:
            self.told.append("alive")

        def checkpoint(self, step: int, write: Any, force: bool = False) -> None:
            self.told.append(f"step {step}, {len(list(Path(self.cache).glob('view-*/done.json')))} views")

    tower = Config(64, json.dumps(VISION), json.dumps({"width": 16, "heads": 2, "layers": 1}))
    init = zero_shot(fresh(tower, 0, run=Local(str(tmp_path))), (), ("{}",), Digits(), run=Local(str(tmp_path)))
    run = Waiting(str(tmp_path / "run"))
    train(init, TRAIN, CrossEntropy(), update=SGD(lr=0.1, batch=32, warmup=0), steps=3, monitor=Monitor(HELD_OUT, every=2), run=run)
    assert run.told == ["step 1, 1 views", "alive", "alive", "step 2, 1 views", "alive", "alive", "step 3, 1 views"]


@pytest.mark.parametrize("keep", ["last", "best"])
def test_what_a_search_stops_gives_what_its_monitor_keeps(zero: Any, run: Local, tmp_path: Path, keep: Any) -> None:
    """That of the step where it was stopped, as if the rest had not been meant to come; nothing is trained after it."""

    @dataclass
    class Searched(Local):
        stop: int = 0
        told: list[tuple[int, int, float]] = field(default_factory=list)

        def enough(self, step: int, steps: int, value: float) -> bool:
            self.told.append((step, steps, value))
            return step == self.stop

    recipe: dict[str, Any] = {"objective": CrossEntropy(), "update": SGD(lr=0.5, batch=32, warmup=0), "steps": 20}
    recipe["monitor"] = Monitor(HELD_OUT, CalibrationError(), every=4, keep=keep)
    whole, early = Searched(str(tmp_path / "whole")), Searched(str(tmp_path / "early"), stop=12)
    train(zero, TRAIN, run=whole, **recipe)
    stopped = train(zero, TRAIN, run=early, **recipe)
    assert early.told == whole.told[:3] and [(step, steps) for step, steps, _ in whole.told] == [(step, 20) for step in (4, 8, 12, 16, 20)]
    stage = stopped.spec["facts"]["training"][-1]
    assert (stage["stopped"], stage["steps"], max(step for step, _ in early.history)) == (12, 20, 12)
    values = [value for _, _, value in early.told]
    assert values == (sorted(values) if keep == "best" else values) and all(value < 0 for value in values)  # of an error less is better
    before = Interrupted(str(tmp_path / "before"), stop=stage["monitor"]["step"])
    with pytest.raises(KeyboardInterrupt):
        train(zero, TRAIN, run=before, **recipe)
    kept = load_file(f"{before.states[0][1]}/state.safetensors")
    assert all(kept[f"model:{key}"].tobytes() == value.tobytes() for key, value in stopped.tensors() if f"model:{key}" in kept)
    assert any(f"model:{key}" in kept for key, _ in stopped.tensors())


def test_a_frozen_batch_norm_keeps_its_statistics(run: Local) -> None:
    tower = Config(16, json.dumps({"timm_model_name": "test_resnet", "image_size": 32}), json.dumps({"width": 16, "heads": 2, "layers": 1}))
    init = zero_shot(fresh(tower, 0, run=run), (), ("{}",), Digits(), run=run)
    update = SGD(lr=0.1, batch=16, warmup=0)
    assert moved(init, train(init, TRAIN, CrossEntropy(), update=update, steps=1, params="head.*", run=run)) == {"head.weight", "head.bias"}
    trained = moved(init, train(init, TRAIN, CrossEntropy(), update=update, steps=1, params="visual.*", run=run))
    assert any(key.endswith("running_mean") for key in trained) and any(key.endswith("num_batches_tracked") for key in trained)


WORKER = """
import sys, json
import torch, torch.distributed as dist
from components.data.digits import Digits
from components.data.split import Split
from components.objectives.classification import CrossEntropy
from components.objectives.contrastive import Contrastive
from components.train import train
from components.types import Local
from components.updates.sgd import SGD
from components.weights import Checkpoint

folder, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
for name, objective, count in (("classes", CrossEntropy(mixup=0.3), 2), ("pairs", Contrastive(prompts=("a {}", "{}")), 1)):
    run = Local(f"{folder}/run-{name}-{rank}-{world}", rank=rank, world=world)
    update = SGD(lr=0.1, batch=16, warmup=0, accumulation=count)
    result = train(Checkpoint(f"{folder}/zero"), Split(Digits(), 0.0, 0.6), objective, update=update, steps=4, run=run)
    result.save(f"{folder}/{name}-{rank}-{world}")
    with open(f"{folder}/{name}-{rank}-{world}.json", "w") as file:
        json.dump(run.history, file)
if world > 1:
    dist.destroy_process_group()
"""


def test_two_processes_train_as_one(zero: Any, tmp_path: Path) -> None:
    zero.save(str(tmp_path / "zero"))
    ranks = [(0, 1), (0, 2), (1, 2)]
    command = [sys.executable, "-W", "error::UserWarning:components", "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank), str(world)], env={**os.environ, "PYTHONPATH": os.getcwd()}) for rank, world in ranks]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    for name in ("classes", "pairs"):
        one, first, second = (Checkpoint(str(tmp_path / f"{name}-{rank}-{world}")) for rank, world in ranks)
        assert same(first, second) and not same(one, zero)
        alone = dict(one.tensors())
        for key, value in first.tensors():
            assert torch.allclose(torch.from_numpy(value), torch.from_numpy(alone[key]), rtol=1e-4, atol=1e-5), key
        losses = [json.loads((tmp_path / f"{name}-{rank}-{world}.json").read_text())[-1][1]["loss"] for rank, world in ranks]
        assert losses[1] == losses[2] == pytest.approx(losses[0], rel=1e-4)
