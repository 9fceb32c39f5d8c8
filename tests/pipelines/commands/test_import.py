"""`import` and `export`: what training scripts and hubs leave becomes a checkpoint, bit for bit, and goes out again."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from components.models.openclip import Config, fresh
from components.types import Local
from components.weights import Checkpoint
from pipelines.__main__ import main

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 10, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint from which everything here descends, and its configuration as a file."""
    folder = tmp_path_factory.mktemp("base")
    fresh(Config(16, json.dumps(VISION), json.dumps(TEXT)), 0, run=Local(str(folder / "run"))).save(str(folder / "model"))
    (folder / "config.json").write_text(json.dumps(Checkpoint(str(folder / "model")).spec["model_cfg"]))
    return folder


def weights(base: Path) -> dict[str, torch.Tensor]:
    return load_file(base / "model" / WEIGHTS)


def stockpot(*words: object) -> int:
    return main([str(word) for word in words])


def spec(folder: Path) -> dict[str, Any]:
    return Checkpoint(str(folder)).spec


def same(one: Path, other: Path, *names: str) -> None:
    for name in names or (WEIGHTS,):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_a_training_script_s_file_becomes_the_checkpoint_that_it_was(base: Path, tmp_path: Path, capsys: Any) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights(base).items()}, "optimizer": {}}
    torch.save(wrapped, tmp_path / "epoch_3.pt")
    assert stockpot("import", tmp_path / "epoch_3.pt", "--config", base / "config.json", "--ancestor", base / "model", "--out", tmp_path / "x") == 0
    same(tmp_path / "x", base / "model")
    told = spec(tmp_path / "x")
    assert told["ancestry"] == spec(base / "model")["ancestry"] and told["model_cfg"] == spec(base / "model")["model_cfg"]
    import hashlib

    digest = hashlib.sha256((tmp_path / "epoch_3.pt").read_bytes()).hexdigest()
    assert told["facts"]["imported"] == {
        "source": str(tmp_path / "epoch_3.pt"), "sha256": {"epoch_3.pt": digest}, "wrapper": ["state_dict"],
        "ignored": ["epoch", "optimizer"], "stripped": ["module."],
    }  # fmt: skip
    assert "stripped: module." in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"epoch_3.pt", "x"}
    open_clip.create_model(f"local-dir:{tmp_path / 'x'}")


def test_an_image_tower_with_a_head_gets_its_text_tower_from_the_ancestor(base: Path, tmp_path: Path) -> None:
    """As the scripts of model soups leave it: the text transformer is deleted, the head lies beside the model."""
    tower = {f"module.model.{key}": value for key, value in weights(base).items() if not key.startswith("transformer.")}
    head = {"module.classification_head.weight": torch.randn(3, 16), "module.classification_head.bias": torch.randn(3)}
    torch.save({**tower, **head}, tmp_path / "soup.bin", _use_new_zipfile_serialization=False)
    refused = stockpot("import", tmp_path / "soup.bin", "--config", base / "config.json", "--out", tmp_path / "x")
    assert refused == 2 and not (tmp_path / "x").exists()
    done = stockpot("import", tmp_path / "soup.bin", "--ancestor", base / "model", "--classes", "a,b,c", "--out", tmp_path / "x")
    assert done == 0
    same(tmp_path / "x", base / "model")
    assert spec(tmp_path / "x")["classes"] == ["a", "b", "c"]
    assert torch.equal(load_file(tmp_path / "x" / "head.safetensors")["head.weight"], head["module.classification_head.weight"])
    assert spec(tmp_path / "x")["facts"]["imported"]["from_ancestor"][0].startswith("transformer.")
    assert stockpot("import", tmp_path / "soup.bin", "--ancestor", base / "model", "--classes", "a,b", "--out", tmp_path / "y") == 2


@pytest.mark.parametrize("where", ["{tmp}/hub", "memory://import/hub"])
@pytest.mark.parametrize("weights_file", [WEIGHTS, "open_clip_pytorch_model.bin", "shards"])
def test_folders_of_the_hub_by_path_and_url(base: Path, tmp_path: Path, where: str, weights_file: str) -> None:
    hub, tensors = tmp_path / "hub", weights(base)
    hub.mkdir()
    (hub / "open_clip_config.json").write_text(json.dumps({"model_cfg": spec(base / "model")["model_cfg"]}))
    if weights_file == "shards":
        keys = {key: f"open_clip_model-{i % 2}.safetensors" for i, key in enumerate(tensors)}
        for name in set(keys.values()):
            save_file({key: tensors[key] for key in tensors if keys[key] == name}, hub / name)
        (hub / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": keys}))
    elif weights_file.endswith(".bin"):
        torch.save(tensors, hub / weights_file)
    else:
        save_file(tensors, hub / weights_file)
    if "memory" in where:
        fsspec.filesystem("memory").put(str(hub), "/import/hub", recursive=True)
    assert stockpot("import", where.format(tmp=tmp_path), "--out", tmp_path / "x") == 0
    same(tmp_path / "x", base / "model")
    assert spec(tmp_path / "x")["preprocess_cfg"] == spec(base / "model")["preprocess_cfg"]
    assert len(spec(tmp_path / "x")["facts"]["imported"]["sha256"]) == (3 if weights_file == "shards" else 1)
    fsspec.filesystem("memory").rm("/import", recursive=True) if "memory" in where else None


def test_a_safetensors_url_is_read_in_ranges_and_written_to_a_url(base: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(base / "model" / WEIGHTS), "/import/w.safetensors")
    assert stockpot("import", "memory://import/w.safetensors", "--config", base / "config.json", "--out", "memory://import/x") == 0
    memory.get("/import/x", str(tmp_path / "x"), recursive=True)
    same(tmp_path / "x", base / "model")
    assert stockpot("import", "memory://import/w.safetensors", "--config", base / "config.json", "--out", "memory://import/x") == 2
    memory.rm("/import", recursive=True)


@pytest.mark.parametrize("source", ["", "/open_clip_pytorch_model.bin", "/w.safetensors"])
def test_a_vocabulary_of_its_own_comes_along(base: Path, tmp_path: Path, source: str) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "open_clip_config.json").write_text(json.dumps({"model_cfg": spec(base / "model")["model_cfg"]}))
    (tmp_path / "hub" / "bpe.txt.gz").write_bytes(b"its own")
    torch.save(weights(base), tmp_path / "hub" / "open_clip_pytorch_model.bin")
    shutil.copy(base / "model" / WEIGHTS, tmp_path / "hub" / "w.safetensors")
    assert stockpot("import", f"{tmp_path}/hub{source}", "--out", tmp_path / "x") == 0
    assert (tmp_path / "x" / "bpe.txt.gz").read_bytes() == b"its own"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of this folder, on a server that ignores queries and knows no ranges."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_without_ranges_is_told(base: Path, tmp_path: Path, served: str, capfd: Any) -> None:
    """Also where the address is signed: nothing is looked for below it."""
    shutil.copy(base / "model" / WEIGHTS, tmp_path / "w.safetensors")
    for query in ("", "?X-Amz-Signature=a/b"):
        words = [f"{served}/w.safetensors{query}", "--config", base / "config.json", "--out", tmp_path / "x"]
        assert stockpot("import", *words) == 2
        assert "its server sends the whole file; download it" in capfd.readouterr().err and not (tmp_path / "x").exists()


def test_the_signature_of_an_address_is_not_kept(base: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(base / "model" / WEIGHTS), "/import/w.safetensors?X-Amz-Signature=xyz")
    words = ["memory://import/w.safetensors?X-Amz-Signature=xyz", "--config", base / "config.json", "--out", tmp_path / "x"]
    assert stockpot("import", *words) == 0
    facts = spec(tmp_path / "x")["facts"]["imported"]
    assert facts["source"] == "memory://import/w.safetensors?X-Amz-Signature=***" and list(facts["sha256"]) == ["w.safetensors"]
    assert not any(b"xyz" in path.read_bytes() for path in (tmp_path / "x").iterdir())
    memory.rm("/import", recursive=True)


def test_models_that_open_clip_does_not_build_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text('{"model_type": "clip"}')
    save_file({"vision_model.w": torch.ones(3)}, tmp_path / "hub" / "model.safetensors", {"format": "pt"})
    assert stockpot("import", tmp_path / "hub", "--out", tmp_path / "x") == 0
    assert spec(tmp_path / "x")["kind"] == "transformers" and (tmp_path / "x" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{base}/model", "--out", "{tmp}/x"], "is a checkpoint of stockpot already"),
        (["{base}/none.pt", "--out", "{tmp}/x"], "no weights at"),
        (["{tmp}/w.safetensors", "--out", "{tmp}/x"], "does not say what it is: give --model"),
        (["{tmp}/w.safetensors", "--model", "ViT-B32", "--out", "{tmp}/x"], "did you mean"),
        (["{tmp}/w.safetensors", "--model", "ViT-B-32", "--out", "{tmp}/x"], "the model's is"),
        (["{tmp}/w.safetensors", "--config", "{tmp}/none", "--out", "{tmp}/x"], "does not exist"),
        (["{tmp}/w.safetensors", "--config", "{tmp}/odd.json", "--out", "{tmp}/x"], "open_clip builds no model of this configuration"),
        (["{tmp}/w.safetensors", "--config", "{tmp}/none", "--model", "RN50", "--out", "{tmp}/x"], "give one of them"),
        (["{tmp}/w.safetensors", "--config", "{base}/config.json"], "and --out URL"),
        (["{tmp}/w.safetensors", "--config", "{base}/config.json", "--classes", "a,b", "--out", "{tmp}/x"], "has 0 rows"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(base: Path, tmp_path: Path, capsys: Any, words: list[str], message: str) -> None:
    shutil.copy(base / "model" / WEIGHTS, tmp_path / "w.safetensors")
    (tmp_path / "odd.json").write_text('{"embed_dim": 4, "vision_cfg": {"layers": "many"}, "text_cfg": {}}')
    assert stockpot("import", *(word.format(base=base, tmp=tmp_path) for word in words)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".*"))


def test_an_exported_file_opens_in_torch_and_open_clip_and_comes_back(base: Path, tmp_path: Path) -> None:
    head = {"head.weight": torch.randn(3, 16).numpy(), "head.bias": torch.randn(3).numpy()}
    one = Checkpoint(str(base / "model"))
    Checkpoint.of(dict(one.tensors()) | head, {**one.spec, "classes": ["a", "b", "c"]}).save(str(tmp_path / "model"))
    assert stockpot("export", tmp_path / "model", "--out", tmp_path / "x.pt") == 0  # the name says which form
    module = open_clip.create_model(f"local-dir:{base / 'model'}")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    open_clip.factory.load_checkpoint(module, str(tmp_path / "x.pt"), weights_only=True)
    assert all(torch.equal(value, weights(base)[key]) for key, value in module.state_dict().items())
    assert stockpot("import", tmp_path / "x.pt", "--config", base / "config.json", "--out", tmp_path / "back") == 0
    same(tmp_path / "back", tmp_path / "model", WEIGHTS, "head.safetensors")
    assert spec(tmp_path / "back")["classes"] == ["a", "b", "c"]
    assert stockpot("export", tmp_path / "model", "--format", "pt", "--out", tmp_path / "x.pt") == 2
    assert stockpot("export", tmp_path / "model", "--format", "pt", "--out", tmp_path / "x.onnx") == 2
    (tmp_path / "folder.pt").mkdir()
    assert stockpot("export", tmp_path / "model", "--format", "pt", "--out", tmp_path / "folder.pt") == 2
    assert stockpot("export", tmp_path / "model", "--format", "open_clip", "--out", tmp_path / "y.pt") == 2 and not (tmp_path / "y.pt").exists()


@pytest.mark.parametrize("dtype", ["", "float16", "bfloat16"])
@pytest.mark.parametrize("form", ["open_clip", "pt"])
def test_exports_have_the_dtype_that_is_asked_for(base: Path, tmp_path: Path, dtype: str, form: str) -> None:
    out = tmp_path / ("x.pt" if form == "pt" else "x")
    assert stockpot("export", base / "model", "--dtype", dtype or "float32", "--format", form, "--out", out) == 0
    found = torch.load(out, weights_only=True)["state_dict"] if form == "pt" else load_file(out / WEIGHTS)
    for key, tensor in weights(base).items():
        assert torch.equal(found[key], tensor.to(getattr(torch, dtype or "float32"))), key
    if form == "open_clip":
        assert spec(out)["ancestry"] == spec(base / "model")["ancestry"]
        open_clip.create_model(f"local-dir:{out}")


def test_an_export_as_it_is_is_a_copy(base: Path, tmp_path: Path) -> None:
    assert stockpot("export", base / "model", "--out", tmp_path / "x") == 0
    same(tmp_path / "x", base / "model", *(path.name for path in (base / "model").iterdir()))
    assert stockpot("export", base / "model", "--out", tmp_path / "x") == 2
