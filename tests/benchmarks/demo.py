"""The first minutes: `stockpot run soup tiny` into an empty store with an empty cache, the same again, and `stockpot --help`.

    python -m tests.benchmarks.demo
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time


def timed(words: list[str], env: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipelines", *words], env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "STOCKPOT_CACHE": f"{folder}/cache", "STOCKPOT_STORE": f"{folder}/store"}
        rows = [("first run", timed(["run", "soup", "tiny"], env), 180.0)]
        for name, words, limit in (("the same again", ["run", "soup", "tiny"], 2.0), ("--help", ["--help"], 0.5)):
            rows.append((name, statistics.median(timed(words, env) for _ in range(5)), limit))
    print(f"{'command':<16}{'seconds':>9}{'aim':>8}")
    for name, seconds, limit in rows:
        print(f"{name:<16}{seconds:>9.2f}{limit:>8.1f}")


if __name__ == "__main__":
    main()
