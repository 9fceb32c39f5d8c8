"""Bad checkpoints through the commands alike: the exit code of the class, one line that names the file, nothing written, nothing touched."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from components.models.openclip import Config, fresh
from components.types import Local
from components.weights import Checkpoint
from pipelines.__main__ import main

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 10, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two siblings `a` and `b` with heads, pictures of their classes, and the configuration as a file."""
    folder = tmp_path_factory.mktemp("sound")
    base = fresh(Config(16, json.dumps(VISION), json.dumps(TEXT)), 0, run=Local(str(folder / "run")))
    for i, name in enumerate("ab"):
        tensors = {key: array + np.float32(i / 8) for key, array in base.tensors()}
        head = {"head.weight": np.ones((2, 16), np.float32), "head.bias": np.zeros(2, np.float32)}
        Checkpoint.of(tensors | head, {**base.spec, "classes": ["x", "y"]}).save(str(folder / name))
    (folder / "config.json").write_text(json.dumps(base.spec["model_cfg"]))
    for name in "xy":
        (folder / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "pictures" / name / "1.png")
    return folder


@pytest.fixture
def place(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(sound, tmp_path / "place")
    return tmp_path / "place"


def state(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def commands(place: Path) -> dict[str, list[str]]:
    """What each command is asked; `a` is the bad one."""
    bad, out, store = str(place / "a"), str(place / "out"), f"{place}/store"
    return {
        "merge": ["merge", "uniform", bad, str(place / "b"), "--out", out],
        "import": ["import", f"{bad}/{WEIGHTS}", "--config", str(place / "config.json"), "--out", out],
        "eval": ["eval", bad, "--data", f"Folder('{place / 'pictures'}')"],
        "export": ["export", bad, "--out", out],
        "study": ["run", "soup", "smoke", "--model", f"OpenClip('{bad}')", "--store", store, "--ray", "none", "--tracking", "none", "--quiet"],
    }


def refused(place: Path, words: list[str], code: int, told: str, capfd: Any) -> None:
    """The command ends with this code and one line; there is no output, and its ingredients are as they were."""
    before = state(place)
    assert main(words) == code
    lines = capfd.readouterr().err.splitlines()
    assert any(told in line for line in lines) and (len(lines) == 1 or words[0] == "run"), lines
    left = {name: digest for name, digest in state(place).items() if not name.startswith("store/")}
    assert left == before and not (place / "out").exists() and not list(place.glob(".*"))


def header(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    table = json.loads(content[8 : 8 + length])
    text = change(table)
    raw = text if isinstance(text, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(raw)) + raw + content[8 + length :]


def twice(table: dict[str, Any]) -> bytes:
    return (json.dumps(table)[:-1] + ',"logit_scale":' + json.dumps(table["logit_scale"]) + "}").encode()


BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda old: b"", "is truncated: expected"),
    "truncated": (lambda old: old[:-100], "is truncated: expected"),
    "a header that lies": (lambda old: struct.pack("<Q", 1 << 60) + old[8:], "header claims"),
    "overlap": (lambda old: header(old, lambda table: table["logit_scale"].update(data_offsets=[0, 4])), "overlaps"),
    "duplicate": (lambda old: header(old, twice), "duplicate key logit_scale"),
    "hole": (lambda old: header(old, lambda table: table.pop("logit_scale") and None), "leaves a hole"),
    "trailing bytes": (lambda old: old + b"x", "trailing bytes"),
    "an image": (lambda old: b"\x89PNG\r\n\x1a\n" + old[8:], WEIGHTS),
}


@pytest.mark.parametrize("command", ["merge", "import", "eval", "export"])
@pytest.mark.parametrize("fault", BYTES)
def test_damaged_files_of_others_are_refused(place: Path, fault: str, command: str, capfd: Any) -> None:
    """The folder has no record of ours that would give the damage away sooner."""
    path, config = place / "a" / WEIGHTS, place / "a" / CONFIG
    (path.parent / "head.safetensors").unlink()
    path.write_bytes(BYTES[fault][0](path.read_bytes()))
    ours = json.loads(config.read_text())
    del ours["stockpot"]["files"]
    config.write_text(json.dumps(ours))
    words = commands(place)[command] + (["--classes", "x,y", "--prompts", "{}"] if command == "eval" else [])
    refused(place, words, 5, BYTES[fault][1], capfd)


@pytest.mark.parametrize("command", ["merge", "eval", "export", "study"])
@pytest.mark.parametrize("fault", ["flipped", "truncated"])
def test_bytes_that_are_not_as_recorded_are_refused(place: Path, fault: str, command: str, capfd: Any) -> None:
    path = place / "a" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content if fault == "flipped" else content[:-7])
    words = commands(place)[command] + (["--verify"] if command == "merge" and fault == "flipped" else [])
    refused(place, words, 5, f"{path} is not as recorded", capfd)


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    """Other tensors, in a file that is sound."""

    def damage(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        spec = Checkpoint(str(folder)).spec
        head = load_file(folder / "head.safetensors")
        shutil.rmtree(folder)
        Checkpoint.of(found | head, {key: value for key, value in spec.items() if key != "lineage"}).save(str(folder))

    return damage


def configuration(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        change(config)
        (folder / CONFIG).write_text(json.dumps(config))

    return damage


def nan(found: dict[str, np.ndarray]) -> None:
    found["visual.proj"] = found["visual.proj"].copy()
    found["visual.proj"][3, 1] = np.nan


# fault: what is done to the folder `a`, and for each command its exit code and words
MEANING: dict[str, tuple[Callable[[Path], None], dict[str, tuple[int, str]]]] = {
    "missing key": (
        tensors(lambda found: found.pop("visual.proj")),
        {"merge": (2, "lacks visual.proj"), "import": (2, "lacks visual.proj"), "eval": (2, "visual.proj missing")},
    ),
    "extra key": (
        tensors(lambda found: found.update(strange=np.ones(3, np.float32))),
        {"merge": (2, "lacks strange"), "import": (2, "strange, for which the model has no place"), "eval": (2, "strange [3] is not in it")},
    ),
    "unlike shape": (
        tensors(lambda found: found.update({"visual.proj": np.ones((5, 5), np.float32)})),
        {"merge": (2, "shapes of visual.proj differ"), "import": (2, "visual.proj has shape [5, 5]"), "eval": (2, "visual.proj [5, 5]")},
    ),
    "NaN": (tensors(nan), {"merge": (5, "nan in visual.proj"), "import": (5, "nan in visual.proj"), "eval": (2, "non-finite logits")}),
    "unlike ancestry": (
        configuration(lambda config: config["stockpot"].update(ancestry="another")), {"merge": (2, "--unlike-ancestry")},
    ),
    "unlike activation": (
        configuration(lambda config: config["model_cfg"].update(quick_gelu=True)), {"merge": (2, "model_cfg differs, e.g. quick_gelu")},
    ),
    "unlike preprocessing": (
        configuration(lambda config: config["preprocess_cfg"].update(interpolation="bilinear")),
        {"merge": (2, "preprocess_cfg differs, e.g. interpolation")},
    ),
    "unlike class order": (
        configuration(lambda config: config["stockpot"].update(classes=["y", "x"])), {"merge": (2, "classes of their heads differ")},
    ),
    "newer format": (
        configuration(lambda config: config["stockpot"].update(format=2)),
        {command: (2, "has checkpoint format 2") for command in ("merge", "eval", "export")},
    ),
    "a path in the record": (
        configuration(lambda config: config["stockpot"].update(files=[["../b/x", 1, "x"]])),
        {command: (5, "not a plain name") for command in ("merge", "eval", "export")},
    ),
    "no JSON": (
        lambda folder: (folder / CONFIG).write_text("{") and None, {command: (5, "is not JSON") for command in ("merge", "import", "eval", "export")},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "command"), [(fault, command) for fault, (_, wanted) in MEANING.items() for command in wanted])
def test_what_does_not_belong_together_is_refused(place: Path, fault: str, command: str, capfd: Any) -> None:
    damage, wanted = MEANING[fault]
    damage(place / "a")
    refused(place, commands(place)[command], *wanted[command], capfd)


def test_integer_buffers_that_differ_are_refused(tmp_path: Path, capfd: Any) -> None:
    for i in range(2):
        buffers = {"w": np.ones(3, np.float32), "position_ids": np.arange(4) + i}
        Checkpoint.of(buffers, {"model_cfg": {}, "ancestry": "root"}).save(str(tmp_path / "ab"[i]))
    refused(tmp_path, ["merge", "uniform", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")], 2, "position_ids", capfd)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("command", ["import", "import folder", "study", "study of a file", "merge", "eval"])
def test_a_pickle_that_runs_code_never_does(place: Path, command: str, capfd: Any, tmp_path: Path) -> None:
    canary, folder = tmp_path / "canary", place / "a"
    shutil.rmtree(folder)
    folder.mkdir()
    torch.save({"state_dict": Canary(canary)}, folder / "open_clip_pytorch_model.bin")
    (folder / CONFIG).write_text(json.dumps({"model_cfg": json.loads((place / "config.json").read_text())}))
    words = commands(place)[command.split()[0]]
    if command.startswith("import"):
        words[1] = str(folder if "folder" in command else folder / "open_clip_pytorch_model.bin")
    if command == "study of a file":
        words[4] = f"OpenClip('RN50', '{folder / 'open_clip_pytorch_model.bin'}')"
    code, told = (2, "is a pickle, which is never read here") if command in ("merge", "eval") else (5, "not unpickled")
    refused(place, words, code, told, capfd)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("w.pt", b"<html>404</html>", "holds no weights but HTML"),
        ("w.safetensors", b"\x89PNG\r\n\x1a\n" + bytes(100), "holds no weights but a PNG image"),
        ("w.bin", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs"),
        ("w.ckpt", b"", "is truncated: expected"),
        ("w.pth", b"PK\x03\x04" + bytes(500), "is truncated"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(place: Path, name: str, content: bytes, told: str, capfd: Any) -> None:
    (place / name).write_bytes(content)
    words = ["import", str(place / name), "--config", str(place / "config.json"), "--out", str(place / "out")]
    refused(place, words, 5, told, capfd)


@pytest.mark.parametrize("command", ["merge", "import", "export"])
@pytest.mark.parametrize("there", ["a model", "a file", "something else"])
def test_a_destination_that_exists_is_left_as_it_is(place: Path, command: str, there: str, capfd: Any) -> None:
    out = place / "out"
    if there == "a model":
        shutil.copytree(place / "b", out)
    elif there == "a file":
        out.write_text("mine")
    else:
        (out / "mine").mkdir(parents=True)
    before = state(place)
    assert main(commands(place)[command]) == 2
    assert capfd.readouterr().err.count("\n") == 1 and state(place) == before and not list(place.glob(".*"))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A folder in which at most 2 MB fit: a disk of that size, or where none can be mounted, a limit on the size of files."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True).returncode == 0
    yield folder, None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", ["merge", "import", "export", "export to a file", "scratch of an import"])
def test_a_full_disk_leaves_nothing_half_written(place: Path, small: tuple[Path, Callable[[], None] | None], command: str) -> None:
    folder, limit = small
    large = load_file(place / "b" / WEIGHTS) | {"padding": np.ones((1 << 20,), np.float32)}
    for name in "ab":
        Checkpoint.of(large, {"model_cfg": {}, "ancestry": "root"}).save(str(place / f"large-{name}"))
    torch.save({key: torch.from_numpy(array) for key, array in large.items()}, place / "large.pt")
    (place / "hub").mkdir()
    (place / "hub" / "config.json").write_text('{"architecture": "mine"}')
    save_file(large, place / "hub" / "model.safetensors")
    one, other, out = place / "large-a", place / "large-b", folder / "out"
    words = {
        "merge": ["merge", "uniform", one, other, "--out", out],
        "import": ["import", place / "hub", "--out", out],
        "export": ["export", one, "--out", out],
        "export to a file": ["export", one, "--format", "pt", "--out", f"{out}.pt"],
        "scratch of an import": ["import", place / "large.pt", "--config", place / "config.json", "--out", place / "out"],
    }[command]
    before, env = state(place), {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    env |= {"TMPDIR": str(folder)} if command.startswith("scratch") else {}
    line = [sys.executable, "-m", "pipelines", *map(str, words)]
    done = subprocess.run(line, env=env, cwd=folder.parent, capture_output=True, text=True, preexec_fn=limit, timeout=300)
    assert done.returncode == 4 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
    assert state(place) == before and not [path for path in folder.rglob("*") if path.is_file()]
