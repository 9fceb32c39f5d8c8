"""From S3 to S3: the bytes that the same merge gives on a disk, in bounded memory, with nothing on the way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from components.weights import Checkpoint, ahead, mean
from tests.s3.models import CONFIG, Bucket, model

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


def test_planning_asks_twice_a_file(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once how long it is, and once for what it begins with."""
    from s3fs import S3FileSystem

    calls: Counter[str] = Counter()
    before = S3FileSystem._call_s3

    async def counted(self: S3FileSystem, method: str, *arguments: object, **more: object) -> object:
        calls[method] += 1
        return await before(self, method, *arguments, **more)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    assert mean([Checkpoint(url) for url in urls]).assembly.plans
    files = 2 * len(urls)  # a configuration and a model each
    assert calls == {"head_object": files, "get_object": files}
