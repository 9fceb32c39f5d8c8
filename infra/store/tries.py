"""How often this process tried a request to object storage again, by kind of failure; light, so that who never met one can ask too."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

_counts: Counter[str] = Counter()
_lock = threading.Lock()


def count(kind: str) -> None:
    """One more."""
    with _lock:
        _counts[kind] += 1


def retried() -> Counter[str]:
    """All so far."""
    with _lock:
        return Counter(_counts)


def told(counts: Mapping[str, int]) -> str:
    """`object storage: 14 requests were tried again (9 SlowDown, 5 connection)`, or ""."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    total = sum(counts.values())
    return f"object storage: {total} request{'s were' if total != 1 else ' was'} tried again ({kinds})" if total else ""
