from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from components.models import build
from components.models.openclip import Config, OpenClip, fresh, pretrained
from components.types import DataError, Local
from components.weights import Checkpoint, mean


def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def equal(a: Any, b: Any) -> bool:
    left, right = dict(a.tensors()), dict(b.tensors())
    return left.keys() == right.keys() and all(left[key].tobytes() == right[key].tobytes() for key in left)


def test_fresh_is_a_function_of_the_seed_alone(tiny: Config, base: Any, run: Local) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = fresh(tiny, 0, run=run)
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(again, base) and again.spec["ancestry"] == base.spec["ancestry"]
    other = fresh(tiny, 1, run=run)
    assert not equal(other, base) and other.spec["ancestry"] != base.spec["ancestry"]


def test_building_draws_nothing_and_is_not_random(base: Any) -> None:
    before = torch.get_rng_state()
    first, second = build(base)(images()), build(base)(images())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)


def test_a_saved_model_opens_in_open_clip_and_computes_the_same(base: Any, tmp_path: Path) -> None:
    base.save(str(tmp_path))
    theirs, _, view = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    theirs.eval()
    from PIL import Image

    batch = torch.stack([view(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images()])
    with torch.inference_mode():
        expected = theirs.encode_image(batch, normalize=True)
        assert torch.equal(build(Checkpoint(str(tmp_path)))(images()), expected)


def test_reused_modules_hold_nothing_of_the_model_before(tiny: Config, base: Any, zero: Any, run: Local) -> None:
    other = fresh(tiny, 3, run=run)
    module = build(zero)
    assert build(other, into=module) is module
    assert torch.equal(module(images()), build(other)(images()))
    assert build(zero, into=module)(images()).shape == (3, 10)


def test_a_combination_builds_as_its_saved_self(tiny: Config, base: Any, run: Local, tmp_path: Path) -> None:
    soup = mean([base, fresh(tiny, 0, run=run)])
    soup.save(str(tmp_path))
    assert torch.equal(build(soup)(images()), build(Checkpoint(str(tmp_path)))(images()))


def test_weights_that_do_not_fit_are_named(base: Any) -> None:
    tensors = dict(base.tensors())
    missing = {key: value for key, value in tensors.items() if key != "logit_scale"}
    with pytest.raises(ValueError, match="logit_scale missing"):
        build(Checkpoint.of(missing, base.spec))
    with pytest.raises(ValueError, match=r"extra.*is not in it"):
        build(Checkpoint.of({**tensors, "extra": np.zeros(1, np.float32)}, base.spec))
    with pytest.raises(ValueError, match=r"visual.proj \[1, 2\]"):
        build(Checkpoint.of({**tensors, "visual.proj": np.zeros((1, 2), np.float32)}, base.spec))


def test_unknown_names_and_tags_are_refused_with_the_nearest(run: Local, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"did you mean .*ViT-B-32"):
        pretrained(OpenClip("ViT-B32", "openai"), run=run)
    with pytest.raises(ValueError, match=r"no weights 'openia'.*openai"):
        pretrained(OpenClip("ViT-B-32", "openia"), run=run)
    with pytest.raises(ValueError, match=r"has no open_clip_config.json"):
        pretrained(OpenClip(str(tmp_path)), run=run)


def test_weights_that_cannot_be_downloaded_are_the_network_s_fault(run: Local) -> None:
    with pytest.raises(ConnectionError, match="check the network"):
        pretrained(OpenClip("RN50", "yfcc15m"), run=run)


def test_a_folder_of_ours_keeps_its_bytes_its_head_and_its_ancestor(zero: Any, run: Local, tmp_path: Path) -> None:
    zero.save(str(tmp_path))
    again = pretrained(OpenClip(f"local-dir:{tmp_path}"), run=run)
    assert equal(again, zero)
    assert again.spec["classes"] == zero.spec["classes"] and again.spec["ancestry"] == zero.spec["ancestry"]


def foreign(folder: Path, base: Any, weights: str) -> None:
    """A folder as open_clip's own tools leave it: no facts of ours."""
    folder.mkdir()
    tensors = {key: torch.from_numpy(value) for key, value in base.tensors()}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": base.spec["model_cfg"]}))
    if weights.endswith(".safetensors"):
        save_file(tensors, folder / weights)
    else:
        torch.save(tensors, folder / weights)


@pytest.mark.parametrize("weights", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_folder_of_open_clip_s_is_read_whole(base: Any, run: Local, tmp_path: Path, weights: str) -> None:
    foreign(tmp_path / "model", base, weights)
    found = pretrained(OpenClip(str(tmp_path / "model")), run=run)
    assert equal(found, base)
    assert found.spec["preprocess_cfg"]["interpolation"] == "bicubic" and found.spec["ancestry"] == base.spec["ancestry"]


def test_a_url_is_a_folder_too(zero: Any, base: Any, run: Local, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    zero.save(str(tmp_path / "ours"))
    foreign(tmp_path / "theirs", base, "open_clip_model.safetensors")
    for name, model in (("ours", zero), ("theirs", base)):
        memory.put(str(tmp_path / name), f"/models/{name}", recursive=True)
        assert equal(pretrained(OpenClip(f"memory://models/{name}"), run=run), model)


def architecture(monkeypatch: pytest.MonkeyPatch, base: Any, folder: Path) -> None:
    """Teach open_clip the tiny tower by name, as its users do."""
    (folder / "tower-x.json").write_text(json.dumps(base.spec["model_cfg"]))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    open_clip.add_model_config(folder)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_an_architecture_takes_its_weights_from_a_file(
    base: Any, run: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    architecture(monkeypatch, base, tmp_path)
    path, tensors = tmp_path / f"weights.{suffix}", {key: torch.from_numpy(value) for key, value in base.tensors()}
    if suffix == "pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in tensors.items()}}, path)
    else:
        save_file(tensors, path)
    assert equal(pretrained(OpenClip("tower-x", str(path)), run=run), base)
    fsspec.filesystem("memory").put(str(path), f"/files/{path.name}")
    assert equal(pretrained(OpenClip("tower-x", f"memory://files/{path.name}"), run=run), base)


class Canary:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_a_malicious_pickle_is_never_run(base: Any, run: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture(monkeypatch, base, tmp_path)
    (tmp_path / "weights.pt").write_bytes(pickle.dumps({"state_dict": Canary(str(tmp_path / "canary"))}))
    torch.save({"state_dict": Canary(str(tmp_path / "canary"))}, tmp_path / "zip.pt")
    for name in ("weights.pt", "zip.pt"):
        with pytest.raises(DataError, match="was not unpickled"):
            pretrained(OpenClip("tower-x", str(tmp_path / name)), run=run)
        assert not (tmp_path / "canary").exists()


def test_the_tag_decides_the_activation(run: Local) -> None:
    from components.models.openclip import tagged

    assert tagged(OpenClip("ViT-B-32", "openai"), run)[1]["quick_gelu"] is True
    assert not tagged(OpenClip("ViT-B-32", "laion2b_s34b_b79k"), run)[1].get("quick_gelu", False)
    assert tagged(OpenClip("roberta-ViT-B-32", "laion2b_s12b_b32k"), run)[1]["quick_gelu"] is True  # here only the configuration says so


def test_bad_configurations_are_named(run: Local, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Config.vision is not JSON"):
        fresh(Config(16, "{", "{}"), run=run)
    with pytest.raises(ValueError, match=r"Config.text is list"):
        fresh(Config(16, "{}", "[]"), run=run)
    (tmp_path / "open_clip_config.json").write_text('{"architectures": []}')
    with pytest.raises(DataError, match="has no model_cfg"):
        pretrained(OpenClip(str(tmp_path)), run=run)


def test_the_shipped_model_opens_here_and_in_open_clip(run: Local) -> None:
    from components.models.folder import address

    module = build(pretrained(OpenClip(), run=run))
    theirs = open_clip.create_model(f"local-dir:{address('stockpot-tiny')}").eval()
    with torch.inference_mode():
        expected = theirs.encode_image(module.normalised(images()), normalize=True)
        assert torch.equal(module(images()), expected)
        tokens = module.tokenise(["the digit three"])
        assert torch.equal(module.texts(tokens), theirs.encode_text(tokens, normalize=True))


def test_a_text_tower_without_its_vocabulary_is_refused(tmp_path: Path) -> None:
    from components.models.folder import address
    from components.models.openclip import tokeniser

    tiny = Checkpoint(address("stockpot-tiny"))
    assert tokeniser(tiny.spec["model_cfg"], tiny.extras)(["a"]).shape[0] == 1
    with pytest.raises(ValueError, match=r"bpe\.txt\.gz, the vocabulary that it was trained with, is missing"):
        tokeniser(tiny.spec["model_cfg"], {})
