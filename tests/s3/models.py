"""Checkpoints in a bucket, and the eyes of another client on what lies there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from components.types import revision
from components.weights import Checkpoint
from tests.s3.seaweed import Server

SPEC = {"kind": "open_clip", "model_cfg": {}, "preprocess_cfg": {}, "ancestry": "a" * 64}
MODEL, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
numbers = itertools.count()


@revision(1)
def model(seed: int, megabytes: float = 40.0) -> Checkpoint:
    """Ten tensors of normal numbers, float32."""
    draws = np.random.default_rng(seed)
    tensors = {f"visual.{k}.weight": draws.standard_normal(int(megabytes * 25_000), np.float32) for k in range(10)}
    return Checkpoint.of(tensors, {**SPEC, "name": f"model {seed}"})


class Bucket:
    """A bucket of its own."""

    def __init__(self, server: Server) -> None:
        self.client, self.name = server.client(), f"test-{next(numbers)}"
        self.client.create_bucket(Bucket=self.name)

    def url(self, name: str) -> str:
        return f"s3://{self.name}/{name}"

    def names(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def content(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return found

    def uploads(self) -> list[dict[str, Any]]:
        """Multipart uploads that were begun, and neither completed nor aborted."""
        found: list[dict[str, Any]] = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return found

    def clear(self) -> None:
        for one in self.uploads():
            self.client.abort_multipart_upload(Bucket=self.name, Key=one["Key"], UploadId=one["UploadId"])
        for key in self.names():
            self.client.delete_object(Bucket=self.name, Key=key)
        self.client.delete_bucket(Bucket=self.name)
