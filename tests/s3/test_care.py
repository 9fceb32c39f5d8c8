"""The care of a store in a bucket: verified, collected, listed, and copied to and from a disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.weights.chunks import chunk, hashed
from components.weights.destination import destination
from components.weights.files import CHUNK
from infra.store import Store, gc
from infra.store.copy import Copier, compare
from infra.store.gc import ATTEMPTS, UPLOADS, Waste, collect, plan
from infra.store.inventory import keys, listed, now
from infra.store.lease import Driver
from infra.store.place import VERSIONED
from infra.store.verify import Checked, Expected, expected, verify
from tests.infra.store.made import everything, node
from tests.s3.models import Bucket

pytestmark = pytest.mark.s3

ROOT = Path(__file__).parents[2]
Stockpot = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(bucket: Bucket) -> Store:
    store = Store(bucket.url("some/store"))
    store.prepare()
    return store


@pytest.fixture
def stockpot(tmp_path: Path, bucket: Bucket) -> Stockpot:
    """Run `stockpot WORDS ...` on a machine that knows nothing yet."""
    places = {name: str(tmp_path / name) for name in ("STOCKPOT_CACHE", "STOCKPOT_STATE")}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines", *map(str, words)]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **places}, capture_output=True, text=True, timeout=300)

    return run


def damages(store: Store) -> dict[str, str]:
    wanted = list(expected(store))
    files = [file for file in wanted if isinstance(file, Expected)]
    found = (*(one for one in wanted if isinstance(one, Checked)), *verify(store.place, files, hashed))
    return {file.name.rpartition("/")[2]: damage for file, damage in found}


def test_damage_in_a_bucket_is_found(store: Store, bucket: Bucket) -> None:
    content = os.urandom(2 * CHUNK + 7)
    sizes = {"sound": 2 * CHUNK + 7, "whole": CHUNK, "empty": 0, "flipped": CHUNK + 9, "short": CHUNK + 9, "long": 9, "gone": 9, "filled": 0}
    node(store, "train-1", {name: content[:size] for name, size in sizes.items()})
    changes = {"flipped": content[: CHUNK + 8] + bytes([content[CHUNK + 8] ^ 1]), "short": content[: CHUNK + 8], "long": content[:10], "filled": b"x"}
    for name, changed in changes.items():
        bucket.client.put_object(Bucket=bucket.name, Key=f"some/store/train-1/attempts/a/{name}", Body=changed)
    bucket.client.delete_object(Bucket=bucket.name, Key="some/store/train-1/attempts/a/gone")
    bucket.client.put_object(Bucket=bucket.name, Key="some/store/train-2/record.json", Body=b"{")
    found = damages(store)
    assert [found.pop(name) for name in ("sound", "whole", "empty")] == ["", "", ""]
    assert found.pop("flipped").startswith("its bytes changed") and found.pop("gone") == "missing"
    assert "not a record" in found.pop("record.json")
    assert set(found) == {"short", "long", "filled"} and all("were recorded" in damage for damage in found.values()), found


def test_gc_removes_attempts_and_unfinished_uploads_of_this_store_only(store: Store, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    node(store, "train-1", {"model": b"weights"})
    for name in ("train-1/attempts/b/model", "train-1/lease/0", "train-2/attempts/c/model"):
        store.place.write(name, b"{}")
    bucket.client.put_object(Bucket=bucket.name, Key="some/store-2/train-1/attempts/b/model", Body=b"of another store")
    begun = {}
    for key in ("some/store/train-1/attempts/b/weights", "some/store-2/train-1/attempts/b/weights"):
        begun[key] = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"]
        bucket.client.upload_part(Bucket=bucket.name, Key=key, UploadId=begun[key], PartNumber=1, Body=b"x" * 1000)
    assert not list(plan(store))  # all of it is younger than a day
    monkeypatch.setattr(gc, "AGE", -3600.0)
    found = list(plan(store))
    assert Waste(UPLOADS, "train-1/attempts/b/weights", 1000, begun["some/store/train-1/attempts/b/weights"]) in found
    assert {one.name for one in found if one.kind == ATTEMPTS} == {"train-1/attempts/b/model", "train-2/attempts/c/model"}
    assert [why for _, why in collect(store, found)] == [""] * len(found) and not list(plan(store))
    assert [upload["Key"] for upload in bucket.uploads()] == ["some/store-2/train-1/attempts/b/weights"]
    assert not [one for one in plan(Store(f"s3://{bucket.name}")) if one.kind == UPLOADS]  # a whole bucket as the store: these are others' still
    assert sorted(bucket.names()) == [
        "some/store-2/train-1/attempts/b/model", "some/store/store.json", "some/store/train-1/attempts/a/model", "some/store/train-1/record.json",
    ]  # fmt: skip


def test_gc_spares_what_a_living_driver_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.place.write("train-2/attempts/c/model", b"x")
    driver = Driver(store.place)
    driver.start()
    try:
        assert driver.acquire(["train-2"]) == {"train-2": ""}
        assert f"process {os.getpid()}" in listed(store, ["train-2"])[0].state
        late = [Waste(ATTEMPTS, "train-2/attempts/c/model", 1)]
        assert [why for _, why in collect(store, late)] == [gc.IN_USE]
        monkeypatch.setattr(gc, "silent", lambda *given: set())  # else its heartbeat were too old as well
        monkeypatch.setattr(gc, "AGE", -3600.0)
        assert not [one for one in plan(store) if one.kind == ATTEMPTS]
    finally:
        driver.stop()


def test_what_a_bucket_keeps_is_told_and_not_tried_for_ever(store: Store, bucket: Bucket) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    store.place.write("train-2/attempts/c/model", b"x")
    told = list(collect(store, [Waste(ATTEMPTS, "train-2/attempts/c/model", 1)]))
    assert [why for _, why in told] == [VERSIONED] and not list(plan(store))
    for kind in ("Versions", "DeleteMarkers"):
        for one in bucket.client.list_object_versions(Bucket=bucket.name).get(kind, []):
            bucket.client.delete_object(Bucket=bucket.name, Key=one["Key"], VersionId=one["VersionId"])


def test_the_clock_is_the_stores(store: Store, bucket: Bucket) -> None:
    store.place.write("probe", b"")
    assert abs(now(store.place) - next(one.changed for one in store.place.find() if one.name == "probe")) < 60


def test_a_store_goes_from_bucket_to_bucket(store: Store, bucket: Bucket) -> None:
    content = os.urandom(2 * CHUNK + 7)
    node(store, "train-1", {"model": content, "empty": b""})
    node(store, "train-2", {"model": content[:9]})
    target = Store(bucket.url("elsewhere"))
    target.prepare()
    killed = {"Bucket": bucket.name, "Key": "elsewhere/train-1/attempts/a/model"}  # what a copy left
    upload = bucket.client.create_multipart_upload(**killed)["UploadId"]
    bucket.client.put_object(Bucket=bucket.name, Key="elsewhere/train-2/attempts/a/model", Body=b"half")
    copier = Copier(store, target, chunk, hashed, destination)
    assert [why for _, why in copier.copy(compare(store, target, keys(store)))] == ["", ""]
    assert everything(target) == everything(store)
    bucket.client.abort_multipart_upload(UploadId=upload, **killed)
    assert not bucket.uploads() and [one.told for one in compare(store, target, keys(store))] == ["there", "there"]


def test_a_study_moves_to_a_bucket_and_back_and_every_stage_is_a_hit(stockpot: Stockpot, bucket: Bucket, tmp_path: Path) -> None:
    here, there, back = tmp_path / "here", bucket.url("there"), tmp_path / "back"
    made = stockpot("run", "soup", "smoke", "--store", here, "--ray", "none", "--tracking", "none")
    assert made.returncode == 0, made.stderr
    for source, target in ((here, there), (there, back)):
        done = stockpot("copy", source, target)
        assert done.returncode == 0 and "copied and read back" in done.stdout, done.stderr
    shutil.rmtree(tmp_path / "STOCKPOT_CACHE")
    for where in (there, back):
        run = stockpot("run", "soup", "smoke", "--store", where, "--ray", "none", "--tracking", "none")
        assert run.returncode == 0 and "digits %" in run.stdout, run.stderr
        assert not [name for name in everything(Store(str(where))) if name.startswith(("runs/", "drivers/"))]  # nothing was computed
    stores = [Store(str(where)) for where in (here, there, back)]
    digests = [{node.key: node.digest for node in listed(store, keys(store))} for store in stores]
    assert digests[0] == digests[1] == digests[2] and len(digests[0]) > 20
    page = next(name for name in bucket.names() if name.endswith("index.html"))
    assert bucket.client.head_object(Bucket=bucket.name, Key=page)["ContentType"] == "text/html"
    checked = stockpot("verify", "--store", there)
    assert checked.returncode == 0 and "all as recorded" in checked.stdout
    shown = stockpot("ls", there, "--function", "train")
    assert shown.returncode == 0 and "2 of 2 nodes done" in shown.stdout
