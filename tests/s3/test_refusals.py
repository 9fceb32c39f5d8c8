"""What a store says no to, in one line with its remedy; and what it does not list, which decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infra.errors import INFRASTRUCTURE, exit_code_of
from infra.store.place import Place
from tests.s3 import study
from tests.s3.models import Bucket
from tests.s3.proxy import Fault, proxied
from tests.s3.seaweed import Server
from tests.s3.test_place import behind, forget

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AuthorizationHeaderMalformed", r"its bucket lies in .*; set AWS_DEFAULT_REGION to that region"),
        ("RequestTimeTooSkewed", r"this machine's clock is .* the store's \(RequestTimeTooSkewed\); set it"),
        ("AccessDenied", r"access was refused .*; check the credentials"),
        ("QuotaExceeded", r"access was refused \(.*QuotaExceeded.*\)"),
    ],
)
def test_a_refusal_is_not_tried_again(code: str, words: str, bucket: Bucket, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(server.port, lambda *_: Fault(code)) as proxy:
        behind(proxy, monkeypatch)
        with pytest.raises(Exception, match=words) as told:
            Place(bucket.url("store")).write("a", b"content")
        assert exit_code_of(told.value) == INFRASTRUCTURE and "\n" not in str(told.value)
        assert proxy.faults[code] <= 2  # once more with credentials that were read anew


def test_a_store_that_lists_nothing_computes_each_node_once(
    bucket: Bucket, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def blind(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Fault | None:
        return Fault("blind") if method == "GET" and "list-type" in query else None

    with proxied(server.port, blind) as proxy:
        behind(proxy, monkeypatch)
        for begun in (["slow 0", "slow 1", "slowly", "sum"], []):
            assert study.main(bucket.url("store"), str(tmp_path), "sum", "2", "0") == 0
            told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert sorted(title for event, title, _ in told if event == "queued") == begun
            assert told[-1] == ["value", "sum", 4.0]
