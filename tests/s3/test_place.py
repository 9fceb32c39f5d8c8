"""The store's operations on S3, where answers get lost, bodies are cut, credentials expire and other drivers write the same names."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import pytest

from components.weights import destination, files
from components.weights.files import CHUNK
from infra.errors import Refused, StoreError
from infra.store import s3
from infra.store.place import Place
from infra.store.tries import retried
from tests.s3.models import Bucket
from tests.s3.proxy import Fault, Plan, Proxy, proxied
from tests.s3.seaweed import GUEST, Server

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients of this test's own, with short pauses."""
    monkeypatch.setattr(s3, "FIRST", 0.01)
    yield
    forget()


def forget() -> None:
    from infra.store import place

    place._filesystem.cache_clear()
    files._filesystem.cache_clear()
    s3.S3.clear_instance_cache()
    s3.S3.met.clear()


@pytest.fixture
def place(bucket: Bucket) -> Place:
    return Place(bucket.url("store"))


def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that are made from now on, by method."""
    made: list[str] = []
    before = s3.S3FileSystem._call_s3

    async def noted(self: object, method: str, *args: object, **kwargs: object) -> object:
        made.append(method)
        return await before(self, method, *args, **kwargs)

    monkeypatch.setattr(s3.S3FileSystem, "_call_s3", noted)
    return made


def test_what_a_place_holds(place: Place, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.read("a") is None and not place.exists("a") and place.names() == [] and list(place.find()) == []
    assert place.create("a/b/c", b"first") and not place.create("a/b/c", b"second") and place.create("a/b/c", b"first")
    place.write("a/d", b"")
    bucket.client.put_object(Bucket=bucket.name, Key="store/a/", Body=b"")  # what a console makes of a new folder
    bucket.client.put_object(Bucket=bucket.name, Key="store2/other", Body=b"a neighbour")
    assert place.names("a") == ["b", "d"] and place.names() == ["a"]
    assert [(name, size) for name, size, _ in place.find()] == [("a/", 0), ("a/b/c", 5), ("a/d", 0)]
    assert place.read_many(["a/d", "nothing", "a/b/c"]) == {"a/d": b"", "nothing": None, "a/b/c": b"first"}
    made = requests(monkeypatch)
    assert place.exists("a/d") and not place.exists("a/e") and place.read("a/b/c") and place.read("a/e") is None
    place.write("a/b/c", b"third")
    assert made == ["head_object", "head_object", "get_object", "get_object", "put_object"]
    assert place.remove("a") and place.remove("a") and bucket.names() == ["store2/other"]


def test_one_of_many_threads_creates_a_name(place: Place) -> None:
    won: list[int] = []
    threads = [threading.Thread(target=lambda i=i: won.append(i) if place.create("lease/0", b"driver %d" % i) else None) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and place.read("lease/0") == b"driver %d" % won[0]


def test_a_listing_comes_in_pages(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(7):
        place.write(f"runs/{i}", b"")
    before, small = s3.S3FileSystem._call_s3, lambda method: {"MaxKeys": 2} if "list" in method else {}
    monkeypatch.setattr(s3.S3FileSystem, "_call_s3", lambda self, method, **k: before(self, method, **k, **small(method)))
    assert place.names("runs") == [str(i) for i in range(7)] == [name for name, _, _ in place.find("runs")]
    assert place.remove("runs") and place.names("runs") == []


def test_what_the_store_could_not_remove_is_tried_again_or_told(place: Place, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so of single objects, within a success."""
    before, codes = s3.S3FileSystem._call_s3, ["SlowDown", "SlowDown"]

    async def partly(self: object, method: str, *args: object, **kwargs: object) -> object:
        answered = await before(self, method, *args, **kwargs)
        keys = [one["Key"] for one in kwargs["Delete"]["Objects"]] if method == "delete_objects" and codes else []
        return {**answered, "Errors": [{"Key": key, "Code": codes.pop()} for key in keys[:1]]} if keys else answered

    monkeypatch.setattr(s3.S3FileSystem, "_call_s3", partly)
    place.write("a/b", b"")
    assert place.remove("a") and bucket.names() == [] and not codes
    codes.append("AccessDenied")
    with pytest.raises(Refused, match=r"keeps 1 of its objects, first a \(AccessDenied\)"):
        place.remove("a")


def behind(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """From now on this process reaches the server through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setitem(fsspec.config.conf, "s3", settings)
    forget()


def once(kinds: dict[str, str]) -> Plan:
    """The first request with each of these methods meets that fault, for every name; `POST?uploads` begins an upload, `POST` completes one."""
    met: set[tuple[str, ...]] = set()

    def plan(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Fault | None:
        step = f"{method}?uploads" if "uploads" in query else method
        if step not in kinds or (step, path, query.get("partNumber", "")) in met:
            return None
        met.add((step, path, query.get("partNumber", "")))
        return Fault(kinds[step])

    return plan


def write(place: Place, name: str, content: bytes, fails: bool = False) -> None:
    """Through a destination, in parts where it is large."""
    target = destination.destination(place.at(name), unless=place.at("nothing"))
    target.begin(len(content))
    parts = [target.put(start, content[start : start + CHUNK]) for start in range(0, len(content), CHUNK)]
    target.abandon() if fails else target.commit(parts)


@pytest.mark.parametrize("kind", ["SlowDown", "TooManyRequests", "InternalError", "reset", "cut", "stall"])
def test_faults_are_survived_and_counted(
    kind: str, place: Place, server: Server, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(2 * CHUNK + 5)
    bucket.client.put_object(Bucket=bucket.name, Key="store/big", Body=content)
    with proxied(server.port, once(dict.fromkeys(("GET", "PUT", "HEAD", "DELETE"), kind))) as proxy:
        behind(proxy, monkeypatch, config_kwargs={"read_timeout": 1.0 if kind == "stall" else 20.0})
        before = retried()
        assert place.create("lease", b"driver") and place.exists("lease") and place.read("lease") == b"driver"
        fsspec.filesystem("s3").get_file(place.at("big"), str(tmp_path / "big"))
        assert (tmp_path / "big").read_bytes() == content and place.read("big") == content
        with fsspec.filesystem("s3").open(place.at("big"), block_size=1 << 20) as file:
            file.seek(CHUNK)
            assert file.read(5) == content[CHUNK : CHUNK + 5]
        assert place.names() == ["big", "lease"] and place.remove("lease") and not place.exists("lease")
        counted = retried() - before
    assert proxy.faults[kind] >= 5 and (counted.total() >= proxy.faults[kind] or kind in ("cut", "stall", "reset"))  # what has no body is not cut
    assert counted or kind == "reset"  # which aiohttp itself tries again, once, without a word


def test_patience_ends_in_one_line(place: Place, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(server.port, lambda *_: Fault("SlowDown")) as proxy:
        behind(proxy, monkeypatch, patience=0.3)
        with pytest.raises(StoreError, match=r"^s3://\S+/store/a: the store failed \(SlowDown: .*\d tries in") as caught:
            place.write("a", b"")
        assert caught.value.exit_code == 4 and caught.value.retry and proxy.faults["SlowDown"] > 2


def test_a_lost_answer_is_no_rival(place: Place, server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store did what it was asked, and its answer did not arrive: to a place, for a file in parts, a small one, an upload that is given up."""
    content = os.urandom(CHUNK + 7)
    with proxied(server.port, once(dict.fromkeys(("GET", "PUT", "POST", "POST?uploads", "DELETE"), "lost"))) as proxy:
        behind(proxy, monkeypatch)
        assert place.create("lease", b"ours") and place.read("lease") == b"ours"
        write(place, "large", content)
        write(place, "small", b"small")
        write(place, "given-up", content, fails=True)
        assert proxy.faults["lost"] > 9 and not place.exists("given-up")
    assert bucket.content("store/large") == content and bucket.content("store/small") == b"small"
    assert len(bucket.uploads()) == 2  # those whose numbers got lost are left for `gc`


def test_a_success_that_says_error_is_tried_again(place: Place, server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(CHUNK + 7)
    with proxied(server.port, once({"POST": "hidden", "GET": "hidden", "PUT": "hidden"})) as proxy:
        behind(proxy, monkeypatch)
        write(place, "large", content)
        assert place.create("small", b"small") and place.read("small") == b"small" and proxy.faults["hidden"] >= 5
    assert bucket.content("store/large") == content


def test_a_rival_is_a_rival(place: Place, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a request of ours never arrived: the one that lost is not told that it won."""
    place.write("lease", b"theirs")
    with proxied(server.port, once({"PUT": "reset", "POST": "reset"})) as proxy:
        behind(proxy, monkeypatch)
        assert not place.create("lease", b"ours")
        target = destination.destination(place.at("file"), unless=place.at("nothing"))
        target.begin(CHUNK + 7)
        parts = [target.put(0, bytes(CHUNK)), target.put(CHUNK, bytes(7))]
        place.write("file", b"theirs")
        with pytest.raises(ValueError, match="written by another command meanwhile"):
            target.commit(parts)
        target.abandon()
        assert proxy.faults["reset"] >= 4 and place.read("lease") == place.read("file") == b"theirs"


def test_credentials_that_were_renewed_are_read_anew(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(key: str) -> None:
        (tmp_path / "credentials").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = testsecret\n")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    keep("former")
    forget()
    place = Place(bucket.url("store"))
    for attempt in (lambda: place.write("a", b""), lambda: place.read("a"), lambda: place.exists("a"), place.names):
        with pytest.raises(Refused, match=r"s3://.*(credentials file)") as caught:
            attempt()
        assert caught.value.exit_code == 4 and not caught.value.retry
    keep("testkey")
    place.write("a", b"renewed")
    assert place.read("a") == b"renewed"


def test_what_no_try_can_mend_is_said_at_once(bucket: Bucket, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before, place = retried(), Place("s3://there-is-no-such-bucket/store")
    for attempt in (lambda: place.read("a"), place.names, lambda: list(place.find())):
        with pytest.raises(Refused, match=r"s3://there-is-no-such-bucket.* there is no such bucket; make it first"):
            attempt()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", GUEST)  # for whom no bucket is made by writing to it
    forget()
    with pytest.raises(Refused, match="access was refused"):
        fsspec.filesystem("s3").call_s3("create_bucket", Bucket="guests-make-none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{server.port}")
    forget()
    with pytest.raises(Refused, match="no secure connection"):
        Place(bucket.url("store")).read("a")
    assert set(retried() - before) <= {"credentials"}


def test_an_endpoint_that_never_answered_is_given_up_soon(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"patience": 1e9, "unmet": 0.1})
    forget()
    with pytest.raises(StoreError, match="check AWS_ENDPOINT_URL"):
        Place(bucket.url("store")).read("a")


def test_the_digest_of_a_file_is_that_of_its_bytes(place: Place) -> None:
    content = os.urandom(2 * CHUNK + 1)
    place.write("a", content)
    chunks = [hashlib.sha256(content[start : start + CHUNK]).digest() for start in range(0, len(content), CHUNK)]
    assert files.digest_of(place.at("a")) == files.joined(chunks)
