"""torch's files: every tensor comes out as it went in, and nothing in them is ever run."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.models.torch_file import convert, save, tensors_of
from components.types import DataError
from components.weights import Checkpoint
from components.weights.layout import BFLOAT16


def state() -> dict[str, torch.Tensor]:
    tied = torch.randn(6, 4)
    return {
        "tied": tied, "tied.too": tied, "view": tied[1:3, ::2], "turned": tied.t(), "parameter": torch.nn.Parameter(torch.randn(2)),
        "bf16": torch.randn(3).bfloat16(), "f16": torch.randn(3).half(), "f64": torch.randn(3).double(), "scalar": torch.tensor(4.6),
        "counts": torch.arange(3), "flags": torch.tensor([True, False]), "empty": torch.empty(0, 3), "expanded": torch.ones(1).expand(5),
        "conjugate": torch.complex(torch.randn(2), torch.randn(2)).conj(),
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_tied_shared_and_strided_tensors_come_out_as_they_are(tmp_path: Path, zipped: bool) -> None:
    wanted = state()
    torch.save({"epoch": 3, "state_dict": wanted, "optimizer": {"lr": 1}}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    told = (tensors_of if zipped else convert)(str(tmp_path / "x.pt"), str(tmp_path / "x.safetensors"))
    assert told == {"wrapper": ["state_dict"], "ignored": ["epoch", "optimizer"], "classes": []}
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor), key


@pytest.mark.parametrize("wrapper", [[], ["model"], ["module", "state_dict"]])
def test_wrappers_are_opened_and_told(tmp_path: Path, wrapper: list[str]) -> None:
    content: dict[str, Any] = {"a": torch.ones(2), "b": torch.ones(1)}
    for key in reversed(wrapper):
        content = {key: content}
    torch.save(content, tmp_path / "x.pt")
    assert convert(str(tmp_path / "x.pt"), str(tmp_path / "x"))["wrapper"] == wrapper
    assert load_file(tmp_path / "x").keys() == {"a", "b"}


class Canary:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def compressed(path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 20)}, path.with_suffix(".plain"))
    with zipfile.ZipFile(path.with_suffix(".plain")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def half(path: Path, **how: Any) -> None:
    torch.save(state(), path, **how)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def holds_itself(path: Path) -> None:
    state: dict[str, Any] = {}
    state["model"] = state
    torch.save(state, path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "zip pickle": (lambda path: torch.save({"state_dict": Canary(f"{path}.canary")}, path), r"more than tensors \(posix.system\)"),
    "legacy pickle": (
        lambda path: torch.save({"w": Canary(f"{path}.canary")}, path, _use_new_zipfile_serialization=False), r"more than tensors \(posix.system\)",
    ),
    "bare pickle": (lambda path: path.write_bytes(pickle.dumps({"w": Canary(f"{path}.canary")})), "more than tensors"),
    "module": (lambda path: torch.save(torch.nn.Linear(2, 2), path), r"more than tensors \(torch.nn.modules.linear.Linear\)"),
    "half a zip": (half, "is truncated: it ends too early"),
    "half a pickle": (lambda path: half(path, _use_new_zipfile_serialization=False), "is truncated: it ends too early"),
    "compressed": (compressed, "is a compressed archive, which torch does not write"),
    "expanded": (lambda path: torch.save({"w": torch.zeros(1).expand(10**9)}, path), "would be 4000000000 bytes"),
    "sparse": (lambda path: torch.save({"w": torch.eye(3).to_sparse()}, path), "which safetensors cannot hold"),
    "no tensors": (lambda path: torch.save({"epoch": 1}, path), "has no tensors where a state dict belongs but the keys epoch"),
    "itself": (holds_itself, "has no tensors where a state dict belongs but the keys model"),
    "a list": (lambda path: torch.save([torch.ones(2)], path), "has no tensors where a state dict belongs but a list"),
    "nonsense": (lambda path: path.write_bytes(b"\x80\x02" + bytes(range(200))), "more than tensors|is damaged|is truncated"),
    "TorchScript": (lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path), "is TorchScript, a program"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_state_dict_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "x.pt"
    BAD[fault][0](path)
    with pytest.raises(ValueError, match=BAD[fault][1]) as caught:
        convert(str(path), str(tmp_path / "x.safetensors"))
    assert "\n" not in str(caught.value) and "EOFError" not in str(caught.value)
    assert not Path(f"{path}.canary").exists() and not (tmp_path / "x.safetensors").exists()


def claims(path: Path) -> None:
    """A file of half a megabyte whose header asks for storage of 2^31 - 1 numbers."""
    torch.save({"w": torch.zeros(123456)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"J\x40\xe2\x01\x00", b"J\xff\xff\xff\x7f"))


def takes_long(path: Path) -> None:
    """Four million tuples, which hold nothing."""
    path.write_bytes(b"\x80\x02](" + b")" * 20_000_000 + b"e.")


@pytest.mark.parametrize("fault", [claims, takes_long])
def test_a_file_that_asks_for_too_much_memory_or_time_is_refused(tmp_path: Path, fault: Callable[[Path], None]) -> None:
    fault(tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"x\.pt asks for more memory.*than a file of its size has use for"):
        tensors_of(str(tmp_path / "x.pt"), str(tmp_path / "x.safetensors"), seconds=5)


def test_a_malicious_file_is_named_by_the_child(tmp_path: Path) -> None:
    torch.save({"state_dict": Canary(f"{tmp_path}/canary")}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"x\.pt holds more than tensors \(posix.system\) and was not unpickled"):
        tensors_of(str(tmp_path / "x.pt"), str(tmp_path / "x.safetensors"))
    assert not (tmp_path / "canary").exists()


def test_what_is_saved_opens_under_weights_only_and_keeps_its_bits(tmp_path: Path) -> None:
    wanted = {
        "w": np.ones((2, 3), np.float32), "b": np.array([3, 4], "<u2").view(BFLOAT16), "n": np.arange(3), "head.weight": np.ones((2, 3), np.float32),
        "head.bias": np.zeros(2, np.float32),
    }  # fmt: skip
    save(Checkpoint.of(wanted, {"classes": ["a", "b"]}), str(tmp_path / "x.pt"))
    found = torch.load(tmp_path / "x.pt", weights_only=True)
    assert found["state_dict"].keys() == {"w", "b", "n"} and found["head"].keys() == {"weight", "bias"} and found["classes"] == ["a", "b"]
    assert convert(str(tmp_path / "x.pt"), str(tmp_path / "x"))["classes"] == ["a", "b"]
    save(Checkpoint.of({"w": wanted["w"]}, {}), str(tmp_path / "y.pt"))
    assert convert(str(tmp_path / "y.pt"), str(tmp_path / "y"))["ignored"] == []
    back = load_file(tmp_path / "x")
    assert {key: tensor.contiguous().view(torch.uint8).numpy().tobytes() for key, tensor in back.items()} == {
        key: array.tobytes() for key, array in wanted.items()
    }
