"""What is a secret is neither shown nor taken from where it would stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import settings
from infra.secrets import redact, refuse, refuse_all


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    settings.secrets.cache_clear()
    yield monkeypatch
    settings.secrets.cache_clear()


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hunter2@host/mlflow",
        "cannot reach https://hunter2@host:5000, gave up",
        "postgresql://me:p@ss@hunter2@db/mlflow",
        "https://host/x.tar?X-Amz-Date=1&X-Amz-Signature=hunter2&y=1",
        "https://account.blob.core.windows.net/x?sv=1&sig=hunter2",
        "Authorization: Bearer hunter2hunter2",
    ],
)
def test_patterns_of_secrets_are_not_shown(text: str) -> None:
    assert "hunter2" not in redact(text)


def test_secrets_of_the_environment_are_not_shown_wherever_they_stand(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_SECRET_ACCESS_KEY", "hunter2/and+more")
    environment.setenv("MY_TOKEN", "the")  # too short to be one
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "where/it/is")
    assert redact("denied for the key hunter2/and+more and where/it/is") == "denied for the key *** and where/it/is"
    assert "hunter2" not in redact("http://host/?x=hunter2%2Fand%2Bmore, hunter2/and%2Bmore")


@given(st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


PLAIN = ["s3://bucket/a/b", "stockpot run soup --trials 8", "me@example.org", "file:///a/b@c", "http://host/a@b"]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == refuse(text) == text


@pytest.mark.parametrize("url", ["s3://key:hunter2@bucket/x", "https://hunter2@host", "--x=postgresql://me:p@hunter2@db/x", "zip://a::s3://k:hunter2@b"])
def test_a_url_with_credentials_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="credentials do not belong in a URL; set ") as caught:
        refuse(url)
    assert "hunter2" not in str(caught.value)


def test_names_that_a_secret_would_have_are_refused_at_any_depth() -> None:
    refuse_all({"trials": 3, "model": {"class_path": "x", "tokens": [1]}, "alphas": ["github://me:repository@main/x"]})
    for name in ("aws-secret-access-key", "password", "session_token", "api_key"):
        with pytest.raises(ValueError, match=f"--{name}: secrets are not taken from flags or YAML") as caught:
            refuse_all([{"task": [{name: "hunter2"}]}], "--")
        assert "hunter2" not in str(caught.value)
