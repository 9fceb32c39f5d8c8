"""`python -m infra.backends.cluster.check ADDRESS`: is the cluster's Ray and Python the one here? A process of its own: Ray may wait for ever."""

from __future__ import annotations

import logging
import sys

from infra.backends.cluster.head import reach, reason


def main(address: str) -> int:
    """Print one line; 0 where the cluster can be worked with."""
    import ray

    try:
        reach(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        print(f"the cluster at {address} runs Ray {ray.__version__} and Python {sys.version.split()[0]}, as this machine does")
        return 0
    except Exception as error:
        print(reason(error))
        return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
