"""How long merging takes, against the limit of the machine and against other tools, and how much memory.

    python -m tests.benchmarks.merge [--models 8,16] [--pairs 9] [--folder DIR] [--mergekit PYTHON] [--model-soups CHECKOUT] [--only PART ...]

It makes checkpoints of ViT-B/32's real keys and shapes (605 MB each) in DIR, or fewer where the disk is short, and says so. The limit: two
threads read every file with readinto into buffers that are used again, then the result's bytes are written once; no arithmetic, no
digest, no fsync on either side. "By hand" adds the arithmetic and nothing else, for files of one layout. Each figure is a median of
rounds in which every contestant runs once, page cache warm unless it says cold.

--mergekit: the Python of an environment with mergekit (`pip install mergekit`); its own command for state dicts runs `linear`.
--model-soups: a checkout of https://github.com/mlfoundations/model-soups; its main.py runs as published up to the evaluation of the uniform
soup, with N models instead of 72 and stand-ins for what it imports only to evaluate. It never writes the soup.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from components.merge import dare, ties
from components.weights import Checkpoint, mean
from tests.benchmarks.checkpoints import WEIGHTS, generate, sparse

ROOT = Path(__file__).parents[2]
STEP = 1 << 20
Runs = dict[str, Callable[[Sequence[Checkpoint], str], None]]
PARTS = ("limit", "methods", "competitors", "memory")


def limit(models: Sequence[Checkpoint], out: str) -> None:
    """Read everything with two threads, write the size of one once."""
    paths = [f"{model.url}/{WEIGHTS}" for model in models]

    def read(mine: Sequence[str]) -> None:
        buffer = bytearray(STEP)
        for path in mine:
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    threads = [threading.Thread(target=read, args=(paths[i::2],)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    buffer, left = memoryview(bytearray(STEP)), os.path.getsize(paths[0])
    os.makedirs(out)
    with open(f"{out}/{WEIGHTS}", "wb", buffering=0) as file:
        while left:
            left -= file.write(buffer[: min(left, STEP)])


def by_hand(models: Sequence[Checkpoint], out: str) -> None:
    """The limit and the arithmetic: two threads read, add in float64, round and write slabs of equal files; no digest, no check, no header."""
    os.makedirs(out)
    handles = [os.open(f"{model.url}/{WEIGHTS}", os.O_RDONLY) for model in models]
    size, target = os.fstat(handles[0]).st_size, os.open(f"{out}/{WEIGHTS}", os.O_WRONLY | os.O_CREAT)
    starts, lock = iter(range(0, size - size % STEP, STEP)), threading.Lock()

    def work() -> None:
        values, total = np.empty(STEP // 4, np.float32), np.empty(STEP // 4)
        while True:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            for i, handle in enumerate(handles):
                os.preadv(handle, [values], start)
                if i:
                    total += values
                else:
                    np.copyto(total, values)
            total *= 1 / len(handles)
            np.copyto(values, total, casting="same_kind")
            os.pwrite(target, values, start)

    with np.errstate(all="ignore"):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for handle in (*handles, target):
        os.close(handle)


def weighted(models: Sequence[Checkpoint], out: str) -> None:
    """Coefficients that are no equal shares: every value is multiplied as well."""
    parts = [model * (0.01 * (i + 1)) for i, model in enumerate(models)]
    sum(parts[1:], parts[0]).save(out)


def loop(models: Sequence[Checkpoint], out: str) -> None:
    """The ten lines that people write: tensor by tensor, all of the result in memory."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    files = [safe_open(f"{model.url}/{WEIGHTS}", "np") for model in models]
    total = {}
    for key in files[0].keys():  # noqa: SIM118 (not a mapping)
        value = sum(file.get_tensor(key).astype(np.float64) for file in files)
        total[key] = np.asarray(value / len(files), np.float32)
    os.makedirs(out)
    save_file(total, f"{out}/{WEIGHTS}")


def command(models: Sequence[Checkpoint], out: str) -> None:
    """The whole command, from the shell's point of view."""
    start = "import os, sys; os.fsync = lambda _: None; from pipelines.__main__ import main; sys.exit(main(sys.argv[1:]))"  # no fsync here either
    words = [sys.executable, "-c", start, "merge", "uniform", *(model.url for model in models), "--out", out]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def timed(run: Callable[[Sequence[Checkpoint], str], None], models: Sequence[Checkpoint], cold: bool = False) -> float:
    """Seconds, without the removal of what it wrote."""
    if cold:
        for model in models:
            with open(f"{model.url}/{WEIGHTS}", "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with tempfile.TemporaryDirectory(dir=Path(models[0].url).parent) as scratch:
        started = time.perf_counter()
        run(models, f"{scratch}/out")
        return time.perf_counter() - started


def compare(title: str, runs: Runs, models: Sequence[Checkpoint], pairs: int, cold: bool = False) -> None:
    """One line a run: median seconds, and its median ratio to the limit of the same round."""
    rounds = [[timed(limit, models, cold), *(timed(run, models, cold) for run in runs.values())] for _ in range(pairs)]
    print(f"\n{title}: median of {pairs} rounds\n{'':34}{'s':>8}{'x limit':>9}{'range':>14}")
    for i, name in enumerate(["the limit", *runs]):
        ratios = sorted(each[i] / each[0] for each in rounds)
        told = f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
        print(f"{name:34}{statistics.median(each[i] for each in rounds):8.2f}{statistics.median(ratios):9.2f}{told:>14}", flush=True)


def soups(checkout: str) -> Callable[[Sequence[Checkpoint], str], None]:
    """The published script, in a process of its own, on .pt files that are made first."""

    def run(models: Sequence[Checkpoint], out: str) -> None:
        words = [sys.executable, "-c", textwrap.dedent(SOUPS), checkout, str(len(models)), str(Path(models[0].url).parent / "pt")]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    return run


SOUPS = """
    import sys, types, torch
    checkout, count, folder = sys.argv[1:]
    for name in ("wget", "clip", "matplotlib", "matplotlib.pyplot", "pandas", "datasets", "utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["clip"].load = lambda *_, **__: (None, None)
    for name in "ImageNet2p ImageNet ImageNetV2 ImageNetSketch ImageNetR ObjectNet ImageNetA".split():
        setattr(sys.modules["datasets"], name, None)
    def stop(*_):
        raise SystemExit(0)
    sys.modules["utils"].get_model_from_sd, sys.modules["utils"].test_model_on_dataset = stop, None
    source = open(f"{checkout}/main.py").read().replace("NUM_MODELS = 72", f"NUM_MODELS = {count}")
    sys.argv = ["main.py", "--uniform-soup", "--model-location", folder]
    exec(compile(source, "main.py", "exec"), {"__name__": "__main__"})
"""


def mergekit(python: str) -> Callable[[Sequence[Checkpoint], str], None]:
    """`linear` by mergekit's command for plain state dicts."""

    def run(models: Sequence[Checkpoint], out: str) -> None:
        config = Path(models[0].url).parent / "mergekit.yaml"
        listed = "".join(f"  - model: {model.url}/{WEIGHTS}\n    parameters: {{weight: 1.0}}\n" for model in models)
        config.write_text(f"merge_method: linear\ndtype: float32\nmodels:\n{listed}")
        words = [str(Path(python).parent / "mergekit-pytorch"), str(config), out]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return run


def pickled(models: Sequence[Checkpoint]) -> None:
    """The same weights as `.pt` files, which the script reads."""
    import torch

    folder = Path(models[0].url).parent / "pt"
    folder.mkdir(exist_ok=True)
    for i, model in enumerate(models):
        if not (folder / f"model_{i}.pt").exists():
            torch.save({key: torch.from_numpy(array) for key, array in model.tensors()}, folder / f"model_{i}.pt")


PEAK = """
    import sys, threading, time
    from components.weights import Checkpoint, mean
    import components.weights.assembly, components.weights.blend, numpy
    def anonymous():
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) * 1024
    before, peak, going = anonymous(), 0, True
    def watch():
        global peak
        while going:
            peak = max(peak, anonymous())
            time.sleep(0.002)
    thread = threading.Thread(target=watch)
    thread.start()
    mean([Checkpoint(url) for url in sys.argv[2:]]).save(sys.argv[1])
    going = False
    thread.join()
    print((peak - before) / 1e6)
"""


def peak(urls: Sequence[str], scratch: Path) -> float:
    """MB of anonymous memory above the interpreter with numpy, at most, while the mean is saved."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        words = [sys.executable, "-c", textwrap.dedent(PEAK), f"{out}/out", *urls]
        return float(subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def memory(models: Sequence[Checkpoint], folder: Path) -> None:
    print(f"\npeak of anonymous memory above the interpreter{'':8}{'MB':>8}")
    cases = [(f"{len(models)} x ViT-B/32", [model.url for model in models])]
    cases += [(f"{count} x 605 MB, sparse", sparse(folder, count, 605_000_000)) for count in (2, 16, 72)]
    if shutil.disk_usage(folder).free > 6e9:
        cases.append(("8 x 3.9 GB (ViT-H/14), sparse", sparse(folder, 8, 3_944_000_000)))
    for name, urls in cases:
        print(f"{name:54}{peak(urls, folder):8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="8,16")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--folder")
    parser.add_argument("--mergekit")
    parser.add_argument("--model-soups")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    counts = [int(count) for count in options.models.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        models = generate(folder, max(counts))
        few = models[: counts[0]]
        os.fsync = lambda _: None  # on either side; what was made is on the disk, so that it can be dropped from the cache
        if "limit" in options.only:
            ours = {"read, add, write, by hand": by_hand, "mean": lambda m, out: mean(m).save(out), "weighted combination": weighted}
            for count in counts:
                compare(f"{min(count, len(models))} x ViT-B/32", ours, models[:count], options.pairs)
            compare(f"{len(few)} x ViT-B/32, the whole command", {"stockpot merge uniform": command}, few, 3)
            compare(f"{len(few)} x ViT-B/32, cache dropped", {"mean": ours["mean"]}, few, 3, cold=True)
        if "methods" in options.only:
            runs = {
                "mean": lambda m, out: mean(m).save(out),
                "TIES": lambda m, out: ties(m[0], list(m[1:])).save(out),
                "DARE linear": lambda m, out: dare(m[0], list(m[1:])).save(out),
            }
            compare(f"{len(few)} x ViT-B/32, one of them the base", runs, few, 3)
        if "competitors" in options.only:
            others: Runs = {"stockpot, mean": lambda m, out: mean(m).save(out), "tensor by tensor": loop}
            if options.model_soups:
                pickled(few)
                others["model-soups, main.py"] = soups(options.model_soups)
            if options.mergekit:
                others["mergekit, linear"] = mergekit(options.mergekit)
            compare(f"{len(few)} x ViT-B/32, other tools", others, few, 3)
        if "memory" in options.only:
            memory(few, folder)


if __name__ == "__main__":
    main()
