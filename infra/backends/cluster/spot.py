"""`python -m infra.backends.cluster.spot`: on a spot machine of AWS, wait for the notice that it is taken back, then let Ray drain its node.

Its workers then keep their training states and leave, and Ray puts nothing more there. AWS gives two minutes:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import sys
import time
import urllib.request

from infra import settings

PERIOD = 5.0  # seconds between two looks, as AWS advises
GRACE = 100.0  # seconds that the node keeps working, of the 120 that AWS gives
TRIES = 10  # times that the head is asked to drain the node, it may be away for a moment
LASTS = 21600  # seconds for which a token of the metadata service is good: the longest there is


def answer(path: str, method: str = "GET", **headers: str) -> str:
    """What the machine's metadata service says; "" where there is no such thing (yet), or nobody answers."""
    named = {f"X-aws-ec2-metadata-{name.replace('_', '-')}": value for name, value in headers.items()}
    request = urllib.request.Request(f"{settings.metadata_service()}/latest/{path}", method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=2) as found:
            return str(found.read().decode())
    except OSError:
        return ""


def noticed() -> bool:
    """Whether AWS has said that it takes this machine back."""
    token = answer("api/token", "PUT", token_ttl_seconds=str(LASTS))
    return bool(token and answer("meta-data/spot/instance-action", token=token))


def drain(until: float) -> None:
    """Tell Ray that this node goes, at a time in seconds since 1970."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated import autoscaler_pb2

    ray.init(address="auto", log_to_driver=False, ignore_reinit_error=True)
    own = ray.get_runtime_context().get_node_id()
    why: int = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION  # type: ignore[attr-defined]
    gcs = GcsClient(address=ray.get_runtime_context().gcs_address)
    accepted, reason = gcs.drain_node(own, why, "AWS takes the machine back", int(1000 * until), timeout=30)
    print(f"node {own} is drained" if accepted else f"node {own} is not drained: {reason}", flush=True)


def main() -> int:
    while not noticed():
        time.sleep(PERIOD)
    until = time.time() + GRACE
    for _ in range(TRIES):
        try:
            drain(until)
            return 0
        except Exception as error:  # whatever Ray raises: this node's trials hang on it
            print(f"not drained yet: {type(error).__name__}: {error}", flush=True)
            time.sleep(PERIOD)
    return 1


if __name__ == "__main__":
    sys.exit(main())
