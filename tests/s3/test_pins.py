"""Pins of data in a bucket: listed folder by folder, hashed many objects at once, and read again only where an ETag changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.weights.digests import digests_of
from components.weights.files import CHUNK, digest
from infra.store import listing, manifest
from infra.store.pins import Pins
from infra.store.place import Place
from tests.s3.models import Bucket

pytestmark = pytest.mark.s3


def put(bucket: Bucket, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        bucket.client.put_object(Bucket=bucket.name, Key=name, Body=content)


def test_a_bucket_is_pinned_as_the_same_files_on_disk(bucket: Bucket, tmp_path: Path) -> None:
    """With pages of ten, so that folders are listed over several; `a` and `a-b` are where orders of listing differ."""
    names = [f"{folder}/{k}.txt" for folder in ("a", "a-b", "é/1/2/3", "é/1/2/4") for k in range(13)] + ["top.txt", "é/1/large", ".hidden/1"]
    contents = {name: b"z" * (CHUNK + 5 if name.endswith("large") else k % 4) for k, name in enumerate(names)}
    put(bucket, {f"data/{name}": content for name, content in contents.items()} | {"data-2/other": b"", "data/a/": b""})
    for name, content in contents.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    place = Place(bucket.url("store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "PAGE", 10)
        found = Pins(place, digests_of).pin(bucket.url("data"))
    assert found.pin == Pins(place, digests_of).pin(str(tmp_path / "data")).pin
    assert [entry.name for entry in manifest.read(place, found.pin)] == sorted(name for name in names if name[0] != ".")
    assert Pins(place, digests_of).pin(bucket.url("data")).read == 0
    put(bucket, {"data/top.txt": b"new!", "data/a/0.txt": contents["a/0.txt"]})  # the same bytes have the same ETag
    assert Pins(place, digests_of).pin(bucket.url("data")).read == 1


def test_a_single_object_is_a_source_and_a_prefix_of_names_is_none(bucket: Bucket) -> None:
    put(bucket, {"data/shard-0.tar": b"one"})
    place = Place(bucket.url("store"))
    (entry,) = manifest.read(place, Pins(place, digests_of).pin(bucket.url("data/shard-0.tar")).pin)
    assert (entry.name, entry.size, entry.digest) == ("", 3, digest(b"one"))
    for nothing in ("data/shard", "nothing"):
        with pytest.raises(ValueError, match="no such file or folder, or it is empty; check the path"):
            Pins(place, digests_of).pin(bucket.url(nothing))


def test_a_pattern_lists_what_begins_so_and_no_more(bucket: Bucket) -> None:
    put(bucket, {name: b"x" for name in ("train-0.tar", "train-1.tar", "train-1.txt", "train-2/3.tar", "val-0.tar")})
    place = Place(bucket.url("store"))
    found = Pins(place, digests_of).pin(bucket.url("train-*.tar"))
    assert [entry.name for entry in manifest.read(place, found.pin)] == ["train-0.tar", "train-1.tar"]
