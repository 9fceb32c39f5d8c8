"""Names from manifests, archives and tables stay below their folder, however they are written."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.names import safe, shown
from components.types import DataError


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "/", "..", "../x", "a/../../x", "a/..", "/etc/passwd", "\\\\server\\x", "C:\\x", "c:x", "file:///etc/passwd", "FILE:x",
        "http://169.254.169.254/x", "memory::x", "%2e%2e/x", "%252e%252e%252fx", "..%2fx", "a/%2e./x", "..\\x", "%2fetc/passwd", "a\0b",
        "a%00b", "a\nb", "x?versionId=1", "x#part", "a%3fb", "x" * 256, "/".join(["abcd"] * 300), "\udcff.png",
    ],
)  # fmt: skip
def test_dangerous_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"is refused: it .*; rename it") as caught:
        safe(name, "m.json")
    assert "\n" not in str(caught.value) and "\0" not in str(caught.value) and len(str(caught.value)) < 900


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("a/b.jpg", "a/b.jpg"), ("./a//b.jpg", "a/b.jpg"), ("a..b/..c/d...jpg", "a..b/..c/d...jpg"), ("100%.png", "100%.png"),
        ("a b (1).jpg", "a b (1).jpg"), ("Grüße/猫/\u200c.png", "Grüße/猫/\u200c.png"), ("a%20b.png", "a%20b.png"),
    ],
)  # fmt: skip
def test_ordinary_names_are_kept(name: str, canonical: str) -> None:
    assert safe(name, "m.json") == canonical


@given(st.lists(st.sampled_from(["..", ".", "a", "%2e", "%2E%2e", "/", "\\", "%5c", "%2f", "b c", "~"]), max_size=8), st.integers(0, 2))
def test_what_passes_stays_inside(pieces: list[str], rounds: int) -> None:
    name = "".join(pieces)
    for _ in range(rounds):
        name = quote(name)
    try:
        plain = safe(name, "m.json")
    except DataError:
        return
    for _ in range(9):
        assert os.path.normpath(f"/base/{plain}").startswith("/base/")
        plain = unquote(plain).replace("\\", "/")


def test_user_and_password_are_not_shown() -> None:
    assert shown("s3://key:secret@bucket/x") == "s3://bucket/x"
    assert shown("https://host/x.npz?X-Amz-Signature=secret") == "https://host/x.npz?***" and shown("a/b?.tar") == "a/b?.tar"
    assert len(shown("x" * 5000)) < 210
