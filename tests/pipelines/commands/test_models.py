"""`predict`, `eval` and `merge`: models by folder, key and study; labels, scores and soups without a study."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.weights import Checkpoint

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


def keys(store: Path, function: str) -> list[str]:
    return sorted(path.parent.name for path in store.glob(f"{function}-*/record.json"))


def url(store: Path, key: str) -> Path:
    return next((store / key / "attempts").iterdir())


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_predict_labels_every_image_and_lists_what_it_could_not_read(stockpot: Stockpot, soup: Path, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for source in sorted(digits.rglob("*.png"))[:6]:
        (folder / source.name).write_bytes(source.read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    done = stockpot("predict", keys(soup, "greedy")[0], folder, "--store", soup)
    found = rows(done.stdout)
    assert done.returncode == 3 and len(found) == 6 and "not read: broken.png" in done.stderr
    names = list(found[0])[3:]
    assert len(names) == 10 and sum(float(found[0][name]) for name in names) == pytest.approx(1, abs=1e-4)
    assert all(row["probability"] == row[row["label"]] == max(row[name] for name in names) for row in found)

    one, out = sorted(folder.glob("[0-9]*.png"))[0], tmp_path / "one.csv"
    again = stockpot("predict", "soup:smoke", one, "--store", soup, "--out", out)
    assert again.returncode == 0 and again.stdout == ""
    (alone,), among = rows(out.read_text()), next(row for row in found if row["file"] == one.name)
    assert (alone["file"], alone["label"]) == (among["file"], among["label"])
    assert float(alone["probability"]) == pytest.approx(float(among["probability"]), abs=1e-4)  # a batch of one may round otherwise


def test_predict_makes_a_zero_shot_head_where_classes_are_named(stockpot: Stockpot, digits: Path) -> None:
    done = stockpot("predict", "stockpot-tiny", digits / "zero", "--classes", "zero,one", "--prompts", "the digit {}")
    assert done.returncode == 0 and list(rows(done.stdout)[0]) == ["file", "label", "probability", "zero", "one"]
    headless = stockpot("predict", "stockpot-tiny", digits / "zero")
    assert headless.returncode == 2 and "--classes" in headless.stderr and headless.stderr.count("\n") == 1


def test_eval_counts_what_predict_labels(stockpot: Stockpot, soup: Path, digits: Path) -> None:
    model = url(soup, keys(soup, "greedy")[0])
    done = stockpot("eval", model, "--data", "Folder", "--data.url", digits, "--json")
    assert done.returncode == 0, done.stderr
    scores = {score["metric"]: score for score in json.loads(done.stdout)["scores"]}
    assert set(scores) == {"top-1", "top-5", "mean per class", "calibration error"}
    labelled = rows(stockpot("predict", model, digits).stdout)
    assert scores["top-1"]["correct"] == sum(row["file"].split("/")[0] == row["label"] for row in labelled) and scores["top-1"]["n"] == 60
    assert all(score["low"] <= score["value"] <= score["high"] for score in scores.values())
    table = stockpot("eval", model, "--data", f"Folder('{digits}')").stdout
    assert f"{100 * scores['top-1']['value']:.1f}" in table and "95 % interval" in table


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return {key: array.copy() for key, array in Checkpoint(str(folder)).tensors()}


def test_merge_uniform_is_the_mean_and_wise_ft_ends_at_its_ends(stockpot: Stockpot, soup: Path, tmp_path: Path) -> None:
    one, other = keys(soup, "train")
    done = stockpot("merge", "uniform", one, other, "--out", tmp_path / "soup", "--store", soup)
    assert done.returncode == 0, done.stderr
    a, b, mean = tensors(url(soup, one)), tensors(url(soup, other)), tensors(tmp_path / "soup")
    assert all(np.array_equal(mean[key], ((a[key].astype(np.float64) + b[key]) / 2).astype(a[key].dtype)) for key in a)
    zero = keys(soup, "zero_shot")[0]
    assert stockpot("merge", "wise_ft", zero, one, "--alpha", "1", "--out", tmp_path / "end", "--store", soup).returncode == 0
    end = tensors(tmp_path / "end")
    assert all(np.array_equal(end[key], a[key]) for key in a)
    again = stockpot("merge", "uniform", one, other, "--out", tmp_path / "end", "--store", soup)
    assert again.returncode == 2 and "holds a model already" in again.stderr


def test_merge_greedy_says_what_helped(stockpot: Stockpot, soup: Path, digits: Path, tmp_path: Path) -> None:
    done = stockpot("merge", "greedy", *keys(soup, "train"), "--data", f"Folder('{digits}')", "--out", tmp_path / "soup", "--store", soup)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" correct") == 2 and "kept" in done.stdout and (tmp_path / "soup" / "open_clip_config.json").is_file()
    without = stockpot("merge", "greedy", *keys(soup, "train"), "--out", tmp_path / "other", "--store", soup)
    assert without.returncode == 2 and "--data" in without.stderr


def test_merge_plans_without_writing_and_without_torch(soup: Path, tmp_path: Path) -> None:
    script = "import sys; from pipelines.__main__ import main; code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    words = ["merge", "uniform", *keys(soup, "train"), "--plan", "--out", str(tmp_path / "soup"), "--store", str(soup)]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("0 False\n") and "87 averaged" in done.stdout and done.stdout.count("1/2") == 2
    assert not (tmp_path / "soup").exists()


def test_merge_refuses_unlike_ancestors_until_told(stockpot: Stockpot, soup: Path, tmp_path: Path) -> None:
    one = url(soup, keys(soup, "train")[0])
    stranger = tmp_path / "stranger"
    Checkpoint(str(one)).with_spec(ancestry="another").save(str(stranger))
    refused = stockpot("merge", "uniform", one, stranger, "--plan")
    assert refused.returncode == 2 and "--unlike-ancestry" in refused.stderr and refused.stderr.count("\n") == 1
    assert stockpot("merge", "uniform", one, stranger, "--plan", "--unlike-ancestry").returncode == 0


def test_what_is_no_model_is_named(stockpot: Stockpot, soup: Path, digits: Path) -> None:
    wrong = {"tabulate-": "is no model but what tabulate gave", "soupp": "did you mean 'soup'", "soup:tiny": "no winner of soup tiny"}
    for word, told in wrong.items():
        done = stockpot("predict", word, digits, "--store", soup)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and told in done.stderr
