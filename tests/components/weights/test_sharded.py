"""Shards are one file: the same values, the same merge, read in any range; an index that lies is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from components.types import DataError
from components.weights import Checkpoint, mean
from components.weights.engine import Evaluator, opened
from components.weights.parts import Memory
from components.weights.plan import copy
from components.weights.sharded import INDEX, Joined

NAME = "open_clip_model.safetensors"
TENSORS = {f"visual.{i}": np.random.default_rng(i).normal(size=(i + 2, 7)).astype(np.float32) for i in range(7)} | {"ids": np.arange(5)}


def shards(folder: Path, tensors: dict[str, np.ndarray], count: int = 3, config: str = "open_clip_config.json", name: str = NAME) -> Path:
    """A folder as the Hugging Face hub has them: keys are dealt out in turn."""
    folder.mkdir(parents=True)
    where = {key: f"{name.removesuffix('.safetensors')}-{i % count + 1:05}-of-{count:05}.safetensors" for i, key in enumerate(tensors)}
    for file in set(where.values()):
        save_file({key: tensors[key] for key in tensors if where[key] == file}, folder / file, {"format": "pt"})
    size = sum(array.nbytes for array in tensors.values())
    (folder / f"{name}{INDEX}").write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))
    (folder / config).write_text(json.dumps({"model_cfg": {"embed_dim": 4}, "stockpot": {"ancestry": "root"}}))
    return folder


@pytest.mark.parametrize("where", ["{tmp}/a", "file://{tmp}/a", "memory://sharded/a"])
def test_shards_hold_what_one_file_holds(tmp_path: Path, where: str) -> None:
    url = where.format(tmp=tmp_path)
    shards(tmp_path / "a", TENSORS)
    if "memory" in url:
        fsspec.filesystem("memory").put(str(tmp_path / "a"), "/sharded/a", recursive=True)
    one = Checkpoint(url)
    found = dict(one.tensors())
    assert found.keys() == TENSORS.keys() and all(np.array_equal(found[key], TENSORS[key]) for key in TENSORS)
    Checkpoint.of(TENSORS, {"model_cfg": {"embed_dim": 4}, "ancestry": "root"}).save(str(tmp_path / "whole"))
    one.save(str(tmp_path / "copy"))
    assert (tmp_path / "copy" / NAME).read_bytes() == (tmp_path / "whole" / NAME).read_bytes()


def test_shards_cross_processes_and_say_where_their_bytes_lie(tmp_path: Path) -> None:
    part = Checkpoint(str(shards(tmp_path / "a", TENSORS))).parts["model"]
    again = pickle.loads(pickle.dumps(part))
    assert again.layout == part.layout and again.digest == part.digest
    for key, entry in part.layout.items():
        content = b"".join(Path(url).read_bytes()[start:stop] for url, start, stop in again.extents(entry.start, entry.stop))
        assert content == TENSORS[key].tobytes()


def test_more_shards_than_a_process_may_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {f"visual.{i:02}": np.full(3, i, np.float32) for i in range(60)}
    models = [Checkpoint(str(shards(tmp_path / str(i), {**tensors, "visual.00": np.full(3, i, np.float32)}, 60))) for i in range(2)]
    monkeypatch.setattr("components.weights.engine.KEPT", 20)
    monkeypatch.setattr("components.weights.engine.SLAB", 3)  # shards are larger than slabs
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, hard))
    try:
        mean(models).save(str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = dict(Checkpoint(str(tmp_path / "out")).tensors())
    assert all((found[key] == (array if key != "visual.00" else 0.5)).all() for key, array in tensors.items())


@pytest.mark.parametrize("remote", [0, 1])
def test_one_slab_of_a_remote_file_and_of_memory(remote: int) -> None:
    """The tensors follow each other, so that they are asked for together."""
    Checkpoint.of({"a": TENSORS["visual.1"]}, {"model_cfg": {}}).save("memory://sharded/half")
    Checkpoint.of({"b": TENSORS["visual.2"]}, {"model_cfg": {}}).save("memory://sharded/other")
    far = [Checkpoint(f"memory://sharded/{name}").parts["model"] for name in ("half", "other")]
    near = [Memory({"a": TENSORS["visual.1"]}, "near"), Memory({"b": TENSORS["visual.2"]}, "near")]
    plan = copy(Joined("both", [((far if i == remote else near)[i], None) for i in range(2)]))
    assert len(plan.slots) == 1
    found = bytearray(plan.size)
    with opened(plan) as readers:
        Evaluator(plan, readers).fill(0, memoryview(found))
    assert bytes(found) == TENSORS["visual.1"].tobytes() + TENSORS["visual.2"].tobytes()


def test_shards_that_are_read_are_not_written_over(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a", TENSORS)
    with pytest.raises(ValueError, match="holds an ingredient that is being read"):
        Checkpoint(str(folder)).save(f"{folder}/")


def test_shards_average_with_whole_files(tmp_path: Path) -> None:
    other = {key: array + 1 if array.dtype == np.float32 else array for key, array in TENSORS.items()}
    Checkpoint.of(other, {"model_cfg": {"embed_dim": 4}, "ancestry": "root"}).save(str(tmp_path / "whole"))
    two = [Checkpoint(str(shards(tmp_path / "a", TENSORS))), Checkpoint(str(tmp_path / "whole"))]
    for key, array in mean(two).tensors():
        assert np.array_equal(array, ((TENSORS[key].astype(np.float64) + other[key]) / 2).astype(array.dtype))
    assert two[0].digest != Checkpoint(str(shards(tmp_path / "b", other))).digest


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_any_range_is_that_of_the_files_laid_end_to_end(sizes: list[int], data: st.DataObject) -> None:
    arrays = [np.arange(size, dtype=np.uint8) + 10 * i for i, size in enumerate(sizes)]
    joined = Joined("x", [(Memory({str(i): array}, "m"), None) for i, array in enumerate(arrays)])
    everything = b"".join(map(bytes, arrays))
    start = data.draw(st.integers(0, len(everything)))
    stop = data.draw(st.integers(start, len(everything)))
    buffer = bytearray(stop - start)
    joined.reader().read(start, memoryview(buffer))
    assert bytes(buffer) == everything[start:stop]
    assert {key: everything[entry.start : entry.stop] for key, entry in joined.layout.items()} == {str(i): bytes(a) for i, a in enumerate(arrays)}


def mapped(key: str, name: str) -> Callable[[dict[str, Any]], object]:
    return lambda index: index["weight_map"].update({key: name})


FIRST = "open_clip_model-00001-of-00003.safetensors"
FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no map": (lambda index: index.pop("weight_map"), "has no weight_map"),
    "numbers": (mapped("ids", 3), "has no weight_map"),  # type: ignore[arg-type]
    "upwards": (mapped("ids", "../x.safetensors"), r"'\.\./x\.safetensors', which is not the plain name"),
    "absolute": (mapped("ids", "/etc/x.safetensors"), "not the plain name"),
    "url": (mapped("ids", "http://x.safetensors"), "not the plain name"),
    "encoded": (mapped("ids", "%2e%2e%2fx.safetensors"), "not the plain name"),
    "hidden": (mapped("ids", ".safetensors"), "not the plain name"),
    "pickle": (mapped("ids", "x.bin"), "not the plain name of a safetensors file"),
    "listed and missing": (mapped("visual.99", FIRST), "lacks visual.99, which"),
    "present and unlisted": (lambda index: index["weight_map"].pop("visual.0"), "holds visual.0, which .* does not list there"),
    "elsewhere": (mapped("visual.1", FIRST), "lacks visual.1"),
    "no such shard": (mapped("new", "x.safetensors"), "x.safetensors is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_index_that_lies_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    path = shards(tmp_path / "a", TENSORS) / f"{NAME}{INDEX}"
    index = json.loads(path.read_text())
    FAULTS[fault][0](index)
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match=FAULTS[fault][1]) as caught:
        list(Checkpoint(str(tmp_path / "a")).tensors())
    assert "\n" not in str(caught.value)


def test_a_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a", TENSORS)
    save_file({"visual.0": TENSORS["visual.0"], "visual.1": TENSORS["visual.1"]}, folder / FIRST)
    with pytest.raises(DataError, match="00001-of-00003"):
        list(Checkpoint(str(folder)).tensors())


@pytest.mark.parametrize(("config", "kind"), [({"architecture": "resnet18"}, "timm"), ({"model_type": "clip"}, "transformers")])
def test_folders_of_the_hub_are_merged_whatever_builds_them(tmp_path: Path, config: dict[str, str], kind: str) -> None:
    models = []
    for i in range(2):
        folder = shards(tmp_path / str(i), {"w": TENSORS["visual.3"] + i, "v": TENSORS["visual.2"]}, 2, "config.json", "model.safetensors")
        (folder / "config.json").write_text(json.dumps({**config, "stockpot": {"ancestry": "root"}}))
        models.append(Checkpoint(str(folder)))
    mean(models).save(str(tmp_path / "soup"))
    soup = Checkpoint(str(tmp_path / "soup"))
    assert (soup.spec["kind"], soup.spec["model_cfg"]) == (kind, config)
    low, high = TENSORS["visual.3"], TENSORS["visual.3"] + 1
    assert np.array_equal(dict(soup.tensors())["w"], ((low.astype(np.float64) + high) / 2).astype(np.float32))
    assert f"library_name: {kind}" in (tmp_path / "soup" / "card.md").read_text()
