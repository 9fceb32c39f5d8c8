"""What the registry of an MLflow names: payloads to which an alias of a registered model leads, and where a version of one lies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.errors import StoreError
from infra.secrets import redact
from infra.tracking import database


def aliased(tracking: str) -> list[str]:
    """The URLs of the checkpoints that aliases name. Raises StoreError where MLflow cannot be asked: nobody knows then what it names."""
    import mlflow
    from mlflow.exceptions import MlflowException

    from infra.tracking.entities import FAULTS, configure

    configure()
    try:
        client = mlflow.MlflowClient(tracking_uri=tracking, registry_uri=tracking)
        return [url for model in _models(client) for version in set(model.aliases.values()) for url in _urls(client, model.name, str(version))]
    except (MlflowException, *FAULTS) as error:
        told = " ".join(str(error).split())[:200]
        raise StoreError(f"{redact(tracking)}: cannot be asked which models its aliases name ({redact(told)}); try again when it answers") from error


def _models(client: Any) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_registered_models(max_results=100, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _urls(client: Any, name: str, number: str) -> Iterator[str]:
    """Where a version says that its checkpoint lies: by the tag that the mirror gives it, or as its source."""
    version = client.get_model_version(name, number)
    yield from (url.rstrip("/") for url in (version.tags.get("stockpot.uri"), version.source) if url and not url.startswith("models:"))


NAME = re.compile(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))")  # https://mlflow.org/docs/latest/ml/model-registry


def registered(tracking: str, name: str, folder: str) -> str:
    """Path or URL of what `models:/NAME/VERSION` or `models:/NAME@ALIAS` means; what only the server hands out is fetched into the folder.

    ValueError for a name, version or alias that is none; StoreError where MLflow cannot be asked or does not hand it out.
    """
    if (found := NAME.fullmatch(name)) is None:
        raise ValueError(f"{name!r} names no registered model; write models:/NAME/VERSION or models:/NAME@ALIAS")
    if (path := database.file(tracking)) and not path.exists():
        raise ValueError(f"{tracking}: there is no such database to know {name}; give --tracking, the address of the MLflow that does")
    import mlflow
    from mlflow.exceptions import MlflowException

    from infra.tracking.entities import FAULTS, configure, refuses

    configure()
    try:
        client = mlflow.MlflowClient(tracking_uri=tracking, registry_uri=tracking)
        model, number, alias = found.groups()
        version = client.get_model_version(model, number) if number else client.get_model_version_by_alias(model, alias)
        if url := next(_urls(client, model, str(version.version)), ""):
            uri = url
        else:
            uri = client.get_model_version_download_uri(model, str(version.version))
        if uri.startswith(("mlflow-artifacts:", "runs:", "models:", "http:", "https:")):
            return str(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking))
        return uri.removeprefix("file://")
    except (MlflowException, *FAULTS) as error:
        told = " ".join(str(error).split())[:200]
        if refuses(error):
            raise ValueError(f"{redact(tracking)}: has no {name} ({redact(told)}); give one that it has, or another --tracking") from error
        raise StoreError(f"{redact(tracking)}: cannot be asked for {name} ({redact(told)}); try again when it answers") from error
