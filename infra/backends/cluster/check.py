"""`python -m infra.backends.cluster.check ADDRESS`: is the cluster's Ray and Python the one here? A process of its own: Ray may wait for ever."""

from __future__ import annotations

import logging
import sys

from infra.backends.cluster.head import reach


def main(address: str) -> int:
    """Print one line; 0 where the cluster can be worked with."""
    import ray

    try:
        reach(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        print(f"the cluster at {address} runs Ray {ray.__version__} and Python {sys.version.split()[0]}, as this machine does")
        return 0
    except Exception as error:  # Ray tells unlike versions in an exception of any class
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = " ".join(lines[:6]) if "mismatch" in str(error).lower() else (lines or [type(error).__name__])[0]
        print(f"{told}; give it the Ray and the Python of this machine, or the other way round" if "mismatch" in told.lower() else told)
        return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
