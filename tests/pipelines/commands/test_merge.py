"""`merge`: a rule's signature is its command line; what a plan reads; what a terminal sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import components.merge
from components.merge import model_stock, ties, uniform
from components.predictions import Predictions
from components.types import Dataset, File, Run, revision
from components.weights import Checkpoint, Combination, Policy
from components.weights.destination import write
from components.weights.layout import arrange, render
from pipelines.__main__ import main
from pipelines.commands.merge import Options, memory, shortened
from pipelines.commands.rules import chosen, rules

ROOT = Path(__file__).parents[3]
ANCESTRY = "a" * 64


def model(folder: Path, value: float, **tensors: np.ndarray) -> Path:
    arrays = {"visual.w": np.full((3, 4), value, np.float32), "count": np.array(7), **tensors}
    Checkpoint.of(arrays, {"name": folder.name, "ancestry": ANCESTRY}).save(str(folder))
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    return [str(model(tmp_path / "sweep" / f"train-{i}", float(2**i))) for i in range(3)]


def value(folder: Path) -> float:
    (found,) = set(dict(Checkpoint(str(folder)).tensors())["visual.w"].ravel().tolist())
    return float(found)


def said(words: Sequence[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = main(list(map(str, words)))
    except SystemExit as stop:
        code = int(stop.code or 0)
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return code, told.out, told.err


# A rule that nobody knew when the command was written, and what makes the statistics that it wants.


class Size:
    """A payload: one number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def save(self, url: str, map: Callable[..., Any] = map) -> list[File]:
        return [write(url, "size.json", [json.dumps(self.number).encode()])]

    @classmethod
    def load(cls, url: str) -> Size:
        return cls(json.loads((Path(url) / "size.json").read_text()))


@revision(1)
def size(model: Checkpoint, data: Annotated[Dataset, "trains"], times: float = 1.0, *, run: Run) -> Size:
    """The first weight of a model."""
    assert os.path.isdir(run.dir) and type(data).__name__ == "Digits"
    return Size(times * float(next(iter(dict(model.tensors())["visual.w"].ravel()))))


@revision(1)
def sized(
    base: Checkpoint,
    models: list[Checkpoint],
    share: float,
    sizes: list[Size],
    by: Literal["size", "nothing"] = "size",
    less: bool = False,
    policy: Policy = Policy(),  # noqa: B008
) -> Combination:
    """The base plus a share of each model by its size.

    share: of each.
    """
    found = base.combination()
    for one, other in zip(models, sizes, strict=True):
        found = found + one * (share * (other.number if by == "size" else 1) * (-1 if less else 1))
    return found.under(policy).describe(rule="sized")


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components.merge, "size", size, raising=False)
    monkeypatch.setattr(components.merge, "sized", sized, raising=False)
    monkeypatch.setattr(components.merge, "__all__", [*components.merge.__all__, "size", "sized"])


def test_a_rule_that_is_exported_is_a_command(exported: None, three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = ["merge", "sized", *three, "--share", "0.5"]
    code, out, err = said([*rule, "--data", "Digits", "--out", tmp_path / "a"], capsys)
    assert code == 0, err
    assert value(tmp_path / "a") == 1 + (2 * 2 + 4 * 4) / 2
    code, _, err = said([*rule, "--data", "Digits", "--times", "0.5", "--less", "--out", tmp_path / "b"], capsys)
    assert code == 0 and value(tmp_path / "b") == 1 - (2 * 2 + 4 * 4) / 4
    for name, one in zip("xy", three[1:], strict=True):
        assert said(["merge", "size", one, "--data", "Digits()", "--times", "10", "--out", tmp_path / name], capsys)[0] == 0
    saved = [*rule, "--sizes", f"{tmp_path}/x,{tmp_path}/y"]
    assert said([*saved, "--out", tmp_path / "c"], capsys)[0] == 0 and value(tmp_path / "c") == 1 + 10 * (2 * 2 + 4 * 4) / 2
    assert said([*saved, "--by", "nothing", "--out", tmp_path / "d"], capsys)[0] == 0 and value(tmp_path / "d") == 1 + (2 + 4) / 2

    code, _, err = said([*rule, "--out", tmp_path / "e"], capsys)
    assert code == 2 and "--sizes A,B,C" in err and "--data" in err
    code, _, err = said([*rule, "--sizes", f"{tmp_path}/x", "--out", tmp_path / "e"], capsys)
    assert code == 2 and "1 for 2 models" in err
    code, _, err = said(["merge", "sized", three[0], "--share", "1", "--out", tmp_path / "e"], capsys)
    assert code == 2 and "two models or more, got 1; usage: stockpot merge sized BASE A B C" in err
    code, _, err = said(["merge", "sized", *three, "--out", tmp_path / "e"], capsys)
    assert code == 2 and "sized needs --share" in err
    code, _, err = said(["merge", "uniform", *three, "--share", "1", "--out", tmp_path / "e"], capsys)
    assert code == 2 and "--share is no option of uniform, but of sized" in err
    code, _, err = said([*rule, "--by", "length", "--data", "Digits", "--out", tmp_path / "e"], capsys)
    assert code == 2 and "by: expected one of" in err
    assert not (tmp_path / "e").exists()

    code, out, _ = said(["merge", "sized", "--help"], capsys)
    assert code == 0 and all(line in out for line in ("The base plus", "--share NUMBER ", "--by size|nothing ", "--sizes TEXT", "--times NUMBER"))
    code, out, _ = said([*rule, "--plan"], capsys)
    assert code == 0 and "known when it runs" in out


@pytest.mark.parametrize("name", list(rules()))
def test_every_rule_is_a_command_with_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(["merge", name, "--help"], capsys)
    assert code == 0 and out.startswith(f"usage: stockpot merge {name} ")
    assert all(f"\n  --{option} " in out for option in [*rules()[name].options, "out", "plan"])
    assert "\n  --alpha " not in out or "alpha" in rules()[name].options
    assert f"\n  {name} " in said(["merge", "--help"], capsys)[1]


def test_what_picks_or_predicts_is_no_rule() -> None:
    assert {"uniform", "wise_ft", "greedy"} <= set(rules()) and not {"best", "ensemble", "greedy_ensemble"} & set(rules())


def test_saved_predictions_are_those_that_order_the_models(three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = np.array(["a", "b"])
    for i, folder in enumerate(three):
        Predictions(ids, np.array([0, 1]), np.eye(2, dtype=np.float32)[[0, i % 2]]).save(f"{folder}-said")
    given = ["--predictions", ",".join(f"{folder}-said" for folder in three[:2])]
    code, _, err = said(["merge", "greedy", *three, "--data", "Digits", *given, "--out", tmp_path / "soup"], capsys)
    assert code == 2 and "2 for 3 models" in err


def sparse(folder: Path, keys: int, count: int) -> Path:
    """A checkpoint as large as one likes of which only the headers are on the disk; its tensors are a hole."""
    layout = arrange({f"visual.{i}.weight": ("F32", (count,)) for i in range(keys)})
    header, room = render(layout), max(entry.stop for entry in layout.values())
    folder.mkdir(parents=True)
    with open(folder / "open_clip_model.safetensors", "wb") as file:
        file.write(header)
        file.truncate(len(header) + room)
    files = [["open_clip_model.safetensors", len(header) + room, f"{folder.name:0>64}"]]
    ours = {"format": 1, "files": files, "ancestry": ANCESTRY, "name": folder.name}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": {}, "stockpot": ours}))
    return folder


READ = """
import sys
from pipelines.__main__ import main
def count():
    return int(dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())["rchar"])
assert main(sys.argv[1:]) == 0  # everything is imported now
before = count()
assert main(sys.argv[1:]) == 0
print(count() - before)
print(*sorted(set(sys.modules) & {"torch", "open_clip", "ray", "mlflow", "fsspec", "rich"}))
"""


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="needs Linux's count of the bytes that a process read")
def test_a_plan_reads_headers_and_nothing_else(tmp_path: Path) -> None:
    folders = [sparse(tmp_path / f"m{i}", 200, 10_000_000) for i in range(4)]
    headers = sum(len(render(part.layout)) for one in folders for part in Checkpoint(str(one)).parts.values())
    words = ["merge", "uniform", *map(str, folders), "--out", str(tmp_path / "out"), "--plan"]
    done = subprocess.run([sys.executable, "-c", READ, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *told, read, modules = done.stdout.splitlines()
    assert int(read) < 2 * headers + 100_000 and modules == "" and not (tmp_path / "out").exists()
    assert told[-1] == told[len(told) // 2 - 1] and "200 averaged" in done.stdout and "8.0 GB" in done.stdout


def test_the_table_is_aligned_for_many_long_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [model(tmp_path / "a sweep of some days ago" / f"{'trial-' * i}{i}", i + 1.0) for i in range(16)]
    code, out, _ = said(["merge", "uniform", *folders, "--plan"], capsys)
    first, head, *lines = out.splitlines()
    assert code == 0 and first == f"in {folders[0].parent}/"
    rows = lines[:16]
    assert len({line.index("1/16") for line in rows}) == 1 and head.index("weight") + 2 == rows[0].index("1/16")
    assert rows[0].startswith("0 ") and rows[1].startswith("trial-1 ") and rows[15].startswith("...") and max(map(len, rows)) <= 100


def test_a_plan_tells_a_copy_from_a_mean_and_counts_no_weight_twice(three: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    a, b, _ = three
    told = {words: said(["merge", *words, "--plan"], capsys)[1] for words in (("uniform", a, a, b), ("wise_ft", a, b, "--alpha", "1"))}
    mean, end = ([line.split() for line in out.splitlines()] for out in told.values())
    assert [row[1] for row in mean[2:5]] == ["2/3", "above", "1/3"] and "result: 2 keys (1 averaged, 1 copied)" in " ".join(mean[5])
    assert [row[1] for row in end[2:4]] == ["0", "1"] and "result: 2 keys (2 copied)" in " ".join(end[4])


def test_a_model_in_the_place_of_the_base_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "base", 1.0)
    ancestor = Checkpoint(str(base)).parts["model"].digest
    for name, number in (("base", 1.0), ("a", 2.0), ("b", 3.0)):
        arrays = {"visual.w": np.full((3, 4), number, np.float32), "count": np.array(7)}
        Checkpoint.of(arrays, {"name": name, "ancestry": ancestor}).save(str(tmp_path / name))
    for first, noted in (("base", False), ("a", True)):
        code, out, _ = said(["merge", "ties", tmp_path / first, tmp_path / "b", "--plan"], capsys)
        assert code == 0 and ("note: a is no ancestor of the others" in out) == noted


def test_a_warning_of_ours_is_one_plain_line(tmp_path: Path) -> None:
    two = [model(tmp_path / str(i), 1.0, **{"visual.v": np.ones(3, dtype)}) for i, dtype in enumerate((np.float16, np.float32))]
    words = [sys.executable, "-m", "pipelines", "merge", "uniform", *map(str, two), "--plan"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "note: 1 tensors have mixed dtypes, e.g. visual.v: their mean is float32\n")


def test_a_number_that_must_be_given_and_is_none_is_named(three: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert said(["merge", "wise_ft", *three[:2], "--alpha", "half", "--plan"], capsys) == (2, "", "stockpot: alpha: expected a number, got 'half'\n")


def test_names_are_shortened_by_what_they_share_and_by_nothing_else() -> None:
    assert shortened(["/runs/a", "/runs/b"]) == ("/runs/", ["a", "b"])
    assert shortened(["/runs/1/a", "/runs/12/a"]) == ("/runs/", ["1/a", "12/a"])
    assert shortened(["s3://one/a", "s3://two/a"]) == ("", ["s3://one/a", "s3://two/a"])
    assert shortened(["soup", "/runs/b"]) == ("", ["soup", "/runs/b"])


def test_paths_as_a_shell_expands_them(three: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m pipelines merge uniform {tmp_path}/sweep/*/ --out {tmp_path}/soup/"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "" and abs(value(tmp_path / "soup") - 7 / 3) < 1e-6
    assert "MB/s" in done.stdout and sorted(os.listdir(tmp_path)) == ["soup", "sweep"]


def test_bytes_that_are_not_as_recorded_are_found_when_asked_for(three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(Path(three[1]) / "open_clip_model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x41")
    code, _, err = said(["merge", "uniform", *three, "--verify", "--out", tmp_path / "soup"], capsys)
    assert code == 5 and "train-1" in err and "is not as recorded" in err and err.count("\n") == 1 and os.listdir(tmp_path) == ["sweep"]
    assert said(["merge", "uniform", three[0], three[2], "--verify", "--out", tmp_path / "soup"], capsys)[0] == 0


def test_an_option_that_is_an_object_starts_from_the_rule_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    _, names, options = chosen(["learned", "a", "b", "--data", "Digits", "--update.lr", "0.25", "--by", "layer"], Options)
    default = rules()["learned"].own["update"][1]
    assert names == ["a", "b"] and options.update == replace(default, lr=0.25) and options.by == "layer" and options.dtype == ""


def test_statistics_that_are_trained_need_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which `--bn` is known; what each does is the engine's."""
    tensors = [{"visual.bn.running_mean": np.full(4, i, np.float32), "visual.bn.num_batches_tracked": np.array(i)} for i in range(2)]
    words = ["merge", "uniform", *(model(tmp_path / f"m{i}", 1.0, **each) for i, each in enumerate(tensors)), "--plan"]
    code, _, err = said(words, capsys)
    assert code == 2 and "--bn from_base | average | recompute=URL" in err
    code, out, _ = said([*words, "--bn", "average"], capsys)
    assert code == 0 and "2 averaged, 1 copied, 1 counters" in out
    code, out, _ = said([*words, "--bn", "recompute=./train"], capsys)
    assert code == 0 and "2 BatchNorm statistics will be measured anew on ./train" in out
    code, _, err = said([*words, "--bn", "forget"], capsys)
    assert code == 2 and "bn: expected one of average, from_base, recompute=URL, got 'forget'" in err


def test_urls_are_read_and_written_where_they_are(three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, folder in enumerate(three):
        Checkpoint(folder).save(f"memory://{tmp_path.name}/train-{i}")
    urls = [f"memory://{tmp_path.name}/train-{i}" for i in range(3)]
    words = ["merge", "wise_ft", *urls[:2], "--alpha", "0.5", "--out", f"memory://{tmp_path.name}/line"]
    code, out, err = said(words, capsys)
    assert code == 0 and f"in memory://{tmp_path.name}/\n" in out, err
    assert set(dict(Checkpoint(words[-1]).tensors())["visual.w"].ravel().tolist()) == {1.5} and os.listdir(tmp_path) == ["sweep"]
    code, _, err = said(words, capsys)
    assert code == 2 and "holds a model already" in err


@pytest.mark.parametrize("rule", [uniform, lambda models: ties(models[0], models[1:]), lambda models: model_stock(models[0], models[1:])])
@pytest.mark.parametrize("threads", [1, 64])
def test_the_memory_that_a_plan_tells_is_enough_and_small_on_any_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Any, threads: int
) -> None:
    """What numpy holds while a merge of 17 models runs, whose tensors have three slabs for each of many threads."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(threads))
    for i in range(17):
        weights = np.random.default_rng(i).standard_normal(1_500_000, np.float32)
        Checkpoint.of({"visual.w": weights}, {"model_cfg": {}, "ancestry": "a"}).save(f"{tmp_path}/{i}")
    merged = rule([Checkpoint(f"{tmp_path}/{i}") for i in range(17)])
    told = memory(list(merged.assembly.plans.values()))
    tracemalloc.start()
    try:
        merged.save(f"{tmp_path}/out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= told <= 256 << 20


def test_statistics_are_made_once_or_on_the_way_alike(soup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the models of a real sweep, named by their keys."""
    models = sorted(path.parent.name for path in soup.glob("train-*/record.json"))
    data = ["--data", "Sample(Digits(), 64)", "--examples", "8", "--store", soup]
    for key in models:
        assert said(["merge", "fisher", key, *data, "--out", tmp_path / key], capsys)[0] == 0
        assert "result:" not in said(["merge", "fisher", key, *data, "--plan"], capsys)[1]  # no model comes of it
    saved = ["--statistics", ",".join(f"{tmp_path}/{key}" for key in models), "--store", soup]
    for name, options in {"saved": saved, "made": data}.items():
        code, _, err = said(["merge", "fisher_merge", *models, *options, "--out", tmp_path / name], capsys)
        assert code == 0, err
    assert Checkpoint(str(tmp_path / "saved")).digest == Checkpoint(str(tmp_path / "made")).digest
    code, out, _ = said(["merge", "fisher_merge", *models, *saved, "--plan"], capsys)
    assert code == 0 and out.count("     ?  ") == len(models) and "by key" not in out
    code, _, err = said(["merge", "uniform", *models, "--bn", "recompute=Sample(Digits(), 8)", "--store", soup, "--out", tmp_path / "no"], capsys)
    assert code == 2 and "no BatchNorm" in err and not (tmp_path / "no").exists()
