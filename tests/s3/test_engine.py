"""From S3 to S3: the bytes that the same merge gives on a disk, in bounded memory, with nothing on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from components.models.module import build
from components.models.openclip import fresh
from components.types import Local
from components.weights import Checkpoint, ahead, mean
from infra import settings
from pipelines.__main__ import main
from tests.components.conftest import TINY
from tests.components.weights.test_sharded import shards
from tests.s3.models import CONFIG, MODEL, Bucket, model

pytestmark = pytest.mark.s3

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models() -> list[Checkpoint]:
    """Three models of one and a quarter chunks."""
    return [model(i, 20) for i in range(3)]


@pytest.fixture
def urls(bucket: Bucket, models: list[Checkpoint]) -> list[str]:
    for i, one in enumerate(models):
        one.save(bucket.url(f"models/{i}"))
    return [bucket.url(f"models/{i}") for i in range(len(models))]


def test_a_merge_in_a_bucket_is_the_merge_on_a_disk(bucket: Bucket, urls: list[str], models: list[Checkpoint], tmp_path: Path) -> None:
    """Byte for byte, every file; also from S3 to a disk and from memory to S3, and with pieces of any size."""
    weights = [0.5, 0.3, 0.2]
    stored, held = ([one * weight for one, weight in zip(them, weights, strict=True)] for them in ([Checkpoint(url) for url in urls], models))
    expected = sum(held).save(str(tmp_path / "disk"))
    with pytest.MonkeyPatch.context() as patch:
        for k, piece in enumerate((ahead.PIECE, 4_000_003)):
            patch.setattr(ahead, "PIECE", piece)
            sum(stored).save(bucket.url(f"soup-{k}"))
            sum(stored).save(str(tmp_path / f"soup-{k}"))
            for file in expected:
                there = bucket.content(f"soup-{k}/{file.name}")
                assert there == (tmp_path / f"soup-{k}" / file.name).read_bytes()
                assert file.name in ("card.md", CONFIG) or there == (tmp_path / "disk" / file.name).read_bytes()
    Checkpoint(bucket.url("soup-0"), check=True).verify()
    assert not bucket.uploads()


def test_planning_asks_twice_for_a_model_and_once_for_its_configuration(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the model's file is, and what it begins with."""
    from s3fs import S3FileSystem

    settings.configure()
    calls: Counter[str] = Counter()
    before = S3FileSystem._call_s3

    async def counted(self: S3FileSystem, method: str, *arguments: object, **more: object) -> object:
        calls[method] += 1
        return await before(self, method, *arguments, **more)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    assert mean([Checkpoint(url) for url in urls]).assembly.plans
    assert calls == {"head_object": len(urls), "get_object": 2 * len(urls)}


MEMORY = """
import sys, threading
import botocore.session, fsspec, numpy, s3fs
from components.weights import Checkpoint, mean

def resident():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))

opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments) if event == "open" else None)
models = [Checkpoint(url) for url in sys.argv[2:]]
fsspec.filesystem("s3").ls("test")  # a session costs memory, whatever is done with it
before, peak, ended = resident(), 0, threading.Event()

def watch():
    global peak
    while not ended.wait(0.002):
        peak = max(peak, resident())

thread = threading.Thread(target=watch)
thread.start()
mean(models).save(sys.argv[1])
ended.set()
thread.join()
written = [name for name, mode, flags in opened if (mode and set(mode) & set("wax+")) or (not mode and flags & 3)]
print(peak - before, written)
"""


@pytest.mark.parametrize("count", [4, 24])
def test_memory_grows_with_nothing_and_no_file_is_written(bucket: Bucket, count: int) -> None:
    """Ingredients of 100 MB: at most 256 MB beside the interpreter with its clients, and not one file opened to write."""
    for i in range(4):
        model(i, 100).save(bucket.url(f"models/{i}"))
    for i in range(4, count):  # the same weights as other files: what is recorded of them says that they differ
        bucket.client.copy_object(Bucket=bucket.name, Key=f"models/{i}/{MODEL}", CopySource=f"{bucket.name}/models/{i % 4}/{MODEL}")
        told = json.loads(bucket.content(f"models/{i % 4}/{CONFIG}"))
        told["stockpot"]["files"] = [[file, size, f"{i:064}"] for file, size, _ in told["stockpot"]["files"]]
        bucket.client.put_object(Bucket=bucket.name, Key=f"models/{i}/{CONFIG}", Body=json.dumps(told).encode())
    urls = [bucket.url(f"models/{i}") for i in range(count)]
    command = [sys.executable, "-c", MEMORY, bucket.url("soup"), *urls]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    peak, written = done.stdout.split(" ", 1)
    assert int(peak) < 256 << 20 and written == "[]\n", done.stdout
    plans = mean([Checkpoint(url) for url in urls]).assembly.plans["model"]
    assert len(plans.used) == count


def test_a_module_is_built_from_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    both = [fresh(TINY, seed, run=Local(str(tmp_path))).with_spec(ancestry="one") for seed in (0, 1)]
    for i, one in enumerate(both):
        one.save(bucket.url(f"tiny/{i}"))
    found, expected = build(mean([Checkpoint(bucket.url(f"tiny/{i}")) for i in range(2)])), build(mean(both))
    assert all((value == expected.state_dict()[key]).all() for key, value in found.state_dict().items())


def test_shards_and_safetensors_in_a_bucket_are_taken_in(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`import` and `merge` from S3 to S3, by their commands."""
    one = fresh(TINY, 0, run=Local(str(tmp_path)))
    one.save(str(tmp_path / "whole"))
    tensors = {key: np.array(value) for key, value in one.tensors()}
    assert shards(tmp_path / "sharded", tensors).exists()
    told = json.loads((tmp_path / "whole" / CONFIG).read_text())
    (tmp_path / "sharded" / CONFIG).write_text(json.dumps({"model_cfg": told["model_cfg"], "preprocess_cfg": told["preprocess_cfg"]}))
    for file in (tmp_path / "sharded").iterdir():
        bucket.client.put_object(Bucket=bucket.name, Key=f"sharded/{file.name}", Body=file.read_bytes())
    alone = [str(tmp_path / "whole" / MODEL), bucket.url("alone.safetensors")]
    bucket.client.put_object(Bucket=bucket.name, Key="alone.safetensors", Body=Path(alone[0]).read_bytes())
    assert main(["import", alone[1], "--config", str(tmp_path / "sharded" / CONFIG), "--out", bucket.url("taken")]) == 0
    assert bucket.content(f"taken/{MODEL}") == (tmp_path / "whole" / MODEL).read_bytes()
    words = ["merge", "uniform", bucket.url("sharded"), bucket.url("taken"), "--unlike-ancestry", "--out", bucket.url("soup")]
    assert main(words) == 0, capsys.readouterr().err
    assert bucket.content(f"soup/{MODEL}") == (tmp_path / "whole" / MODEL).read_bytes()
