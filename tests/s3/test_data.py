"""Data in a bucket: what the same files on a disk give, from whichever process, also where it is larger than the cache; and what went missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.data import Folder, Images, WebDataset
from components.data.streamed import Streamed
from components.types import DataError, Local
from tests.components.data.test_folder import Pinned, pin
from tests.components.data.test_streamed import IMAGES, READERS, SIZE, N, same, used, written
from tests.s3.models import Bucket

pytestmark = pytest.mark.s3


@pytest.fixture
def here(bucket: Bucket, tmp_path: Path) -> Path:
    """A folder with the same pictures in every format, which lies in the bucket too."""
    written(tmp_path / "here")
    for path in (tmp_path / "here").rglob("*"):
        if path.is_file():
            bucket.client.put_object(Bucket=bucket.name, Key=str(path.relative_to(tmp_path / "here")), Body=path.read_bytes())
    return tmp_path / "here"


@pytest.mark.parametrize("name", READERS)
def test_a_bucket_is_a_disk(bucket: Bucket, here: Path, tmp_path: Path, name: str) -> None:
    wanted = READERS[name](str(here / name)).open(Local(str(tmp_path / "plenty")))
    assert same(READERS[name](bucket.url(name)).open(Local(str(tmp_path / "whole"))), wanted, range(N))
    run = Local(str(tmp_path / "half"), cache_limit=SIZE // 2)
    found = READERS[name](bucket.url(name)).open(run)
    assert isinstance(found.pixels, Streamed) and found.digest == wanted.digest
    assert same(found, wanted, np.random.default_rng(0).permutation(N)) and used(run) <= run.cache_limit


OTHER = """
import json, sys
import numpy as np
from infra import settings
from components.data import WebDataset
from components.types import Local
settings.configure()
found = WebDataset(sys.argv[1]).open(Local(sys.argv[2], cache_limit=int(sys.argv[3])))
print(json.dumps([int(image.astype(np.int64).sum()) for image in found.images(range(len(found)))]))
"""


def test_processes_share_the_cache(bucket: Bucket, here: Path, tmp_path: Path) -> None:
    wanted = [int(image.astype(np.int64).sum()) for image in WebDataset(str(here / "tars")).open(Local(str(tmp_path / "plenty"))).images(range(N))]
    words = [sys.executable, "-c", OTHER, bucket.url("tars"), str(tmp_path / "run"), str(SIZE // 2)]
    workers = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2)]
    found = [json.loads(worker.communicate(timeout=300)[0]) for worker in workers]
    assert found == [wanted, wanted] and used(Local(str(tmp_path / "run"))) <= SIZE // 2


def test_what_another_deletes_or_replaces_stops_the_reader(bucket: Bucket, here: Path, tmp_path: Path) -> None:
    """In the first pass, and in mid-epoch."""
    run = Pinned(str(tmp_path / "run"), cache_limit=SIZE // 2)
    run.files = pin(here / "tars", tmp_path).files
    found = WebDataset(bucket.url("tars"), pinned="m").open(run)
    key, whole = "tars/1.tar", (here / "tars" / "1.tar").read_bytes()
    at = whole.index(IMAGES[50]) + 1000
    for content in (None, whole[:at] + b"?" + whole[at + 1 :], whole[: at - 5000]):
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
        if content is not None:
            bucket.client.put_object(Bucket=bucket.name, Key=key, Body=content)
        fresh = Pinned(str(tmp_path / f"fresh-{content and len(content)}"))
        fresh.files = run.files
        for work in (lambda: [found.images([index]) for index in range(N)], lambda: WebDataset(bucket.url("tars"), pinned="m").open(fresh)):  # noqa: B023
            with pytest.raises(DataError, match=r"tars/1\.tar.*pin the data anew") as caught:
                work()
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a#b.png", "a?b.png", "%2e%2e/x.png", "a\tb.png"])
def test_keys_that_mean_something_else_are_refused(bucket: Bucket, name: str) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=f"pictures/{name}", Body=IMAGES[0])
    with pytest.raises(DataError, match="is refused"):
        Images(bucket.url("pictures")).open(Local("unused"))


def test_other_keys_are_kept(bucket: Bucket, tmp_path: Path) -> None:
    names = ["cat/100%.png", "cat/Grüße 猫 (1).png", "dog/" + "x" * 200 + ".png", "dog/a+b&c=d.png"]
    for name, content in zip(names, IMAGES, strict=False):
        bucket.client.put_object(Bucket=bucket.name, Key=f"pictures/{name}", Body=content)
    found = Folder(bucket.url("pictures")).open(Local(str(tmp_path / "run")))
    assert sorted(found.ids) == sorted(names)


def test_a_pattern_in_a_bucket_looks_at_nothing_else(bucket: Bucket, here: Path, tmp_path: Path) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="tars/others/a#b.tar", Body=b"")
    bucket.client.put_object(Bucket=bucket.name, Key="tars/c#d.tar", Body=b"")
    found = WebDataset(bucket.url("tars/0*.tar")).open(Local(str(tmp_path / "run")))
    assert {name.split("/")[0] for name in found.ids} == {"0.tar"}
