"""All studies over three base models and five seeds, and docs/results.md from what they recorded: `make results`.

    python -m tests.benchmarks.results [STORE]      # what is in the store is not run again

Exit code 0 whatever came out: a claim that did not reproduce is a result.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.results.page import page
from tests.benchmarks.results.runs import all_runs

PAGE = Path(__file__).resolve().parents[3] / "docs" / "results.md"


def main() -> None:
    found = all_runs(sys.argv[1] if len(sys.argv) > 1 else "store")
    PAGE.write_text(page(found))
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
