"""torch's own file format (.pt, .bin, .ckpt): written on demand; read in a child process that has little memory and time, tensors only.

A file of this format is a pickle, which can run code where it is loaded. Here `weights_only` refuses whatever is not a tensor or a plain
container, before it is called; the child is there for what merely exhausts the machine.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.types import DataError
from components.weights.layout import arrange, raw_bytes, render

if TYPE_CHECKING:
    import torch

    from components.weights import Vector

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # where training scripts keep the weights, in this order
SECONDS = 600  # of the child's processor time
SPARE = 1 << 30  # bytes of memory beyond two copies of the file
CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "complex64": "C64",
}  # fmt: skip
CHILD = "import sys; sys.path.insert(0, sys.argv.pop(1)); from components.models.torch_file import child; child(*sys.argv[1:])"


def tensors_of(path: str, target: str, seconds: int = SECONDS) -> dict[str, Any]:
    """Write the tensors of the torch file at `path` as safetensors to `target`.

    Returns {"wrapper": keys that were opened, "ignored": the others, "classes": names of the head's rows}.
    Zip archives are mapped, not loaded; files from before torch 1.6 are loaded. DataError, in one line, for a file that is damaged, that
    holds more than tensors, or that asks for more memory, disk or time than a file of its size has use for.
    """
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", CHILD, root, path, target, str(seconds)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=4 * seconds)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path} could not be read within {4 * seconds} s; fetch it again, or convert it to safetensors") from None
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        if done.returncode >= 0:  # not by a limit
            raise RuntimeError(f"the process that reads {path} ended with {done.returncode}: {done.stderr[-2000:]}") from None
        raise DataError(
            f"{path} asks for more memory or time than a file of its size has use for, and was not read; convert it to safetensors"
        ) from None
    if "full" in told:
        raise OSError(told["full"])
    if "error" in told:
        raise DataError(f"{path} {told['error']}")
    return told


def child(path: str, target: str, seconds: str) -> None:
    """The child process: limits, then the file. The last line of its output is JSON."""
    import torch

    size = Path(path).stat().st_size
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if sys.platform == "linux" else 1 << 34
    for what, limit in (
        (resource.RLIMIT_AS, used + 2 * size + SPARE),
        (resource.RLIMIT_CPU, int(seconds)),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, limit))
    torch.set_num_threads(1)
    try:
        told = convert(path, target)
    except ValueError as error:
        told = {"error": str(error)}
    except OSError as error:
        told = {"full": f"{target} cannot be written ({error.strerror or error}); make room there, or let TMPDIR name another place"}
    except MemoryError:
        told = {"error": "asks for more memory than a file of its size has use for; convert it to safetensors"}
    print("\n" + json.dumps(told), flush=True)


def convert(path: str, target: str) -> dict[str, Any]:
    """What the child does, without limits. ValueError: what is wrong with the file, to be read after its name."""
    _archive(path)
    loaded, size = _loaded(path), Path(path).stat().st_size
    wrapper, tensors = _unwrapped(loaded)
    odd = sorted(key for key, value in tensors.items() if str(value.dtype).removeprefix("torch.") not in CODES or value.layout != _strided())
    if odd:
        raise ValueError(f"has {odd[0]} of {tensors[odd[0]].dtype}, {tensors[odd[0]].layout}, which safetensors cannot hold; convert it")
    layout = arrange({key: (CODES[str(value.dtype).removeprefix("torch.")], tuple(value.shape)) for key, value in tensors.items()})
    total = max((entry.stop for entry in layout.values()), default=0)
    if total > 4 * size + (1 << 20):  # views that repeat one stored value
        raise ValueError(f"would be {total} bytes of tensors, and is a file of {size}; save it again without expanded tensors")
    with open(target, "wb") as file:
        file.write(render(layout))
        for key, entry in layout.items():
            if entry.count:
                file.write(raw_bytes(_array(tensors[key])))
    taken = {*wrapper[:1], *(("head", "classes") if any(key.startswith("head.") for key in tensors) else ())}
    ignored = sorted(str(key) for key in loaded if key not in taken) if wrapper else []
    classes = loaded.get("classes")
    return {"wrapper": wrapper, "ignored": ignored, "classes": list(map(str, classes)) if isinstance(classes, list) and "classes" in taken else []}


def _archive(path: str) -> None:
    """torch stores its archives uncompressed; one that is not could be any size."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(f"is a damaged archive ({error}); fetch it again") from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError("is TorchScript, a program and not only weights; where you trust it, load it and save its state_dict")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("is a compressed archive, which torch does not write; unpack it, and give the file in it")


def _strided() -> Any:
    import torch

    return torch.strided


def _array(tensor: torch.Tensor) -> Any:
    """A contiguous copy of a tensor's bits, as unsigned integers where numpy has no such dtype."""
    import torch

    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return (plain.reshape(-1).view(torch.uint8) if plain.dtype != torch.bool else plain).numpy()


def _loaded(path: str) -> Any:
    """What is in the file. ValueError: it holds more than tensors, or is damaged."""
    import torch
    from torch._weights_only_unpickler import UnpicklingError  # type: ignore[attr-defined]

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f" ({named.group(1)})" if named else ""
        raise ValueError(f"holds more than tensors{what} and was not unpickled; where you trust it, save its state_dict as safetensors") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file does to the reader
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "alloc" in first or "mmap" in first:
            raise MemoryError from None
        early = isinstance(error, EOFError) or "EOF" in first or "central directory" in first
        told = f"is truncated: it ends too early, at {Path(path).stat().st_size} bytes" if early else f"is damaged ({first[:200]})"
        raise ValueError(f"{told}; fetch it again") from None


def _unwrapped(loaded: Any) -> tuple[list[str], dict[str, torch.Tensor]]:
    """(keys that were opened, {name: tensor}); a `head` beside the state dict, as `save` leaves it, is taken along."""
    wrapper: list[str] = []
    head: Mapping[str, Any] = {}
    while isinstance(loaded, Mapping) and len(wrapper) <= len(WRAPPERS):  # a mapping may hold itself
        tensors = {str(key): value for key, value in _tensors(loaded)}
        inner = next((key for key in WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None or len(tensors) > 1:
            if not tensors:
                break
            return wrapper, {**tensors, **{f"head.{key}": value for key, value in _tensors(head)}}
        head = loaded["head"] if isinstance(loaded.get("head"), Mapping) else head
        wrapper, loaded = [*wrapper, inner], loaded[inner]
    found = f"the keys {', '.join(map(str, list(loaded)[:5]))}" if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
    raise ValueError(f"has no tensors where a state dict belongs but {found}; save its state_dict")


def _tensors(mapping: Mapping[Any, Any]) -> Iterator[tuple[Any, torch.Tensor]]:
    import torch

    return ((key, value) for key, value in mapping.items() if isinstance(value, torch.Tensor))


def save(model: Vector, path: str) -> None:
    """Write {"state_dict": the model} at `path`, with {"head": the classifier, "classes": names} where there is one.

    torch.load opens it under weights_only, and open_clip does.
    """
    import torch

    from components.weights.layout import BFLOAT16

    state: dict[str, Any] = {"state_dict": {}}
    for key, array in model.tensors():
        narrow = array.dtype == BFLOAT16
        tensor = torch.from_numpy((array["bfloat16"].view("<i2") if narrow else array).copy())
        role, name = ("head", key.removeprefix("head.")) if key.startswith("head.") else ("state_dict", key)
        if not key.startswith("objective."):
            state.setdefault(role, {})[name] = tensor.view(torch.bfloat16) if narrow else tensor
    if "head" in state:
        state["classes"] = list(model.spec.get("classes") or ())
    torch.save(state, path)
