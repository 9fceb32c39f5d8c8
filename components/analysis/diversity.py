"""How unlike the mistakes of two models are. Definitions on whether each answered an example correctly, bool [N], the same examples in order."""

from __future__ import annotations

import numpy as np


def ratio_error(first: np.ndarray, second: np.ndarray) -> float | None:
    """Unshared over shared errors: examples that exactly one of the two got wrong, over those that both did; None where they share none.

    Two different wrong answers are a shared error here. After Aksela 2003.
    """
    shared = int((~first & ~second).sum())
    return int((first ^ second).sum()) / shared if shared else None


def q_statistic(first: np.ndarray, second: np.ndarray) -> float | None:
    """Yule's Q of the two successes, in [-1, 1]: 1 where they fail on the same examples, 0 where independently; None where it is 0 / 0.

    (both right * both wrong - only first * only second) / their sum. Kuncheva and Whitaker 2003.
    """
    alike = int((first & second).sum()) * int((~first & ~second).sum())
    unlike = int((first & ~second).sum()) * int((~first & second).sum())
    return (alike - unlike) / (alike + unlike) if alike + unlike else None
