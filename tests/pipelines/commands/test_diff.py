"""`diff` as a person runs it: a table that fits a terminal, the midpoint on real digits, and a report of whatever differs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.models.folder import address
from components.weights import Checkpoint
from pipelines.tasks import Handwriting

from .conftest import line

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped model, and two that moved from it in one tower each."""
    folder, base = tmp_path_factory.mktemp("models"), Checkpoint(address("stockpot-tiny"))
    for i, tower in enumerate(["visual.", "transformer."]):
        random = np.random.default_rng(i)
        moved = {key: array + key.startswith(tower) * 0.05 * random.normal(size=array.shape).astype(np.float32) for key, array in base.tensors()}
        Checkpoint.of(moved, base.spec, base.extras).save(f"{folder}/{i}")
    return [folder / "0", folder / "1"]


def test_the_report_fits_a_terminal(stockpot: Stockpot, models: list[Path]) -> None:
    done = stockpot("diff", *models, "--base", "stockpot-tiny", "--largest")
    assert done.returncode == 0 and not done.stderr, done.stderr
    head, _, table = done.stdout.partition("\n\n")
    assert str(models[0]) in head and max(map(len, table.splitlines())) <= 80
    assert "specifications, keys, dtypes and buffers are equal" in table and "from C, cosine 0.0000" in table
    rows = [row.split() for row in table.partition("cosine of moves\n")[2].splitlines()]
    shares = [float(row[row.index("%") - 1]) for row in rows]
    bars = [len(row[-1]) if set(row[-1]) <= {"#", "█", "▌"} else 0 for row in rows]
    assert shares == sorted(shares, reverse=True) and bars == sorted(bars, reverse=True) and bars[0] > bars[-1]
    assert "visual.trunk.stages.2" in table and "transformer.resblocks.1" in table
    flat = stockpot("diff", *models, "--tensors").stdout
    assert "visual.trunk.stages.2.blocks.0.mlp.fc1.weight" in flat and max(map(len, flat.splitlines()[2:])) <= 80


def test_the_midpoint_is_scored_between_the_ends(stockpot: Stockpot, models: list[Path], digits: Path) -> None:
    done = stockpot("diff", *models, "--data", f"Folder('{digits}')", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    scores, barrier = told["line"]["scores"], told["line"]["barrier"]
    assert list(scores) == ["A", "B", "midpoint"] and all(score["n"] == 60 for score in scores.values())
    correct = [scores[name]["correct"] for name in scores]
    assert barrier["value"] == pytest.approx(((correct[0] + correct[1]) / 2 - correct[2]) / 60)
    assert barrier["low"] <= barrier["value"] <= barrier["high"]
    table = stockpot("diff", *models, "--data", f"Folder('{digits}')").stdout
    assert f"barrier {100 * barrier['value']:.1f} points" in table and "paired over 60 examples" in table
    same = stockpot("diff", models[0], models[0], "--data", f"Folder('{digits}')").stdout
    assert "distance  0, 0 %" in same and "barrier 0.0 points" in same


def test_what_cannot_be_averaged_is_still_compared(stockpot: Stockpot, models: list[Path], digits: Path, tmp_path: Path) -> None:
    one = Checkpoint(str(models[0]))
    named = {key: array for key, array in one.tensors() if key != "text_projection"}
    named["visual.head.proj.weight"] = named["visual.head.proj.weight"][:32]
    Checkpoint.of(named, {**one.spec, "preprocess_cfg": {**one.spec["preprocess_cfg"], "interpolation": "nearest"}}, {}).save(f"{tmp_path}/other")
    done = stockpot("diff", models[0], tmp_path / "other")
    assert done.returncode == 0, done.stderr
    for told in (
        "only in A: 1 tensor, text_projection",
        "shapes differ in 1 tensor: visual.head.proj.weight [64,128] and [32,128]",
        "preprocess_cfg.interpolation:  bicubic (A), nearest (B)",
        "bpe.txt.gz:",
    ):
        assert told in done.stdout, done.stdout


def test_ends_without_a_midpoint_are_still_scored(stockpot: Stockpot, models: list[Path], digits: Path, tmp_path: Path) -> None:
    names = list(Handwriting().classes)
    headed = Checkpoint(str(models[1])).with_spec(classes=names, prompts=["a {}"])
    heads = {"head.weight": np.eye(10, 64, dtype=np.float32), "head.bias": np.zeros(10, np.float32)}
    Checkpoint.of({**dict(headed.tensors()), **heads}, headed.spec, headed.extras).save(f"{tmp_path}/headed")
    done = stockpot("diff", models[0], tmp_path / "headed", "--data", f"Folder('{digits}')")
    assert done.returncode == 0, done.stderr
    assert "no midpoint: cannot average" in done.stdout and "classes of their heads differ" in done.stdout
    assert sum(row.endswith(" 60") for row in done.stdout.splitlines()) == 2


def test_refusals_are_one_line_and_damage_is_integrity(stockpot: Stockpot, models: list[Path], tmp_path: Path) -> None:
    assert "takes two models, got 1" in line(stockpot("diff", models[0]))
    missing = stockpot("diff", models[0], tmp_path / "nothing")
    assert missing.returncode == 2 and "no model at" in line(missing)
    Checkpoint(str(models[1])).save(f"{tmp_path}/damaged")
    weights = tmp_path / "damaged" / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    damaged = stockpot("diff", models[0], tmp_path / "damaged")
    assert damaged.returncode == 5 and "not as recorded" in line(damaged)


def test_without_data_no_torch_is_loaded(models: list[Path]) -> None:
    script = "import sys; from pipelines.__main__ import main; code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, "diff", *map(str, models)], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("0 False\n"), done.stderr
