"""The preflight of a store on S3: what a run needs is found missing before anything is computed, each thing with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import fsspec
import pytest

from infra.errors import StoreError
from infra.store import answer, s3
from infra.store.lease import Driver
from infra.store.place import Place
from infra.store.preflight import Preflight, ready
from pipelines.__main__ import main
from tests.s3.models import Bucket
from tests.s3.proxy import Fault, proxied
from tests.s3.seaweed import Server
from tests.s3.test_place import behind, forget

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    forget()


def test_a_good_store_is_found_good_and_left_empty(bucket: Bucket) -> None:
    found = Preflight(Place(bucket.url("store"))).run()
    assert [one.name for one in found] == ["list", "write, read", "exclusive create", "multipart", "clock", "delete"]
    assert not [one for one in found if one.error or one.warning] and bucket.names() == [] and bucket.uploads() == []


def test_a_store_that_ignores_conditions_is_for_one_driver(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some stores do, silently: the header does not get there."""
    before = s3.S3FileSystem._call_s3
    monkeypatch.setattr(s3.S3FileSystem, "_call_s3", lambda self, method, IfNoneMatch="", **k: before(self, method, **k))
    place, other = Place(bucket.url("store")), Driver(Place(bucket.url("store")), "theirs")
    assert "two drivers could publish one node twice" in ready(place)[0]
    other.start()
    try:
        with pytest.raises(StoreError, match=r"another driver is alive \(.*run theirs since"):
            ready(place)
    finally:
        other.stop()
    assert len(ready(place)) == 1


def test_what_may_be_read_and_not_written_is_found(bucket: Bucket, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Fault | None:
        return Fault("ExpiredToken") if method in ("PUT", "POST") else None

    with proxied(server.port, plan) as proxy:
        behind(proxy, monkeypatch)
        found = {one.name: one for one in Preflight(Place(bucket.url("store"))).run()}
    assert found["list"].error is None and "delete" not in found
    assert all("credentials" in found[name].told and found[name].error for name in ("write, read", "exclusive create", "multipart"))


def test_a_clock_that_is_wrong_is_told_in_seconds(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answer.ahead
    monkeypatch.setattr("infra.store.preflight.ahead", lambda date: before(date) - 400)
    assert "s behind the store's" in ready(Place(bucket.url("store")))[0]


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9", "http://key:secret@127.0.0.1:9"])
def test_what_is_no_endpoint_is_told_at_once(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    forget()
    with pytest.raises(ValueError, match=r"AWS_ENDPOINT_URL is not the address of a server; .* without credentials"):
        ready(Place("s3://test/store"))


def test_a_bucket_that_is_not_there_is_no_empty_store(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "s3://never-made/store"]) == 4 and "there is no such bucket" in capsys.readouterr().err
    assert main(["ls", bucket.url("store")]) == 2 and "no store is here" in capsys.readouterr().err


def test_an_endpoint_without_a_store_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"unmet": 0.1})
    forget()
    with pytest.raises(StoreError, match="check AWS_ENDPOINT_URL"):
        ready(Place("s3://test/store"))
