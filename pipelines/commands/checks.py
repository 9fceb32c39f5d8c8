"""One line for each thing that is checked, and the exit code of what failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infra.errors import INFRASTRUCTURE, OK, exit_code_of
from infra.secrets import redact

Check = Callable[[], str]  # what was found; raises with the remedy in its message


def told(name: str, check: Check, known: set[str]) -> int:
    """Print one line, and return the exit code of its failure or 0. A failure that is `known` is not told again."""
    try:
        print(redact(f"ok    {name:<23} {check()}"), flush=True)
    except Exception as error:  # whatever is wrong is what a doctor reports
        line = redact(f"FAIL  {name:<23} {(str(error).strip() or type(error).__name__).splitlines()[0]}")
        if line in known:
            return OK
        print(line, flush=True)
        known.add(line)
        return exit_code_of(error)
    return OK


def summed(codes: Sequence[int]) -> int:
    """Say how many failed; the exit code of all: 4 before any other."""
    failed = [code for code in codes if code]
    print("everything is there" if not failed else f"{len(failed)} of {len(codes)} checks failed")
    return INFRASTRUCTURE if INFRASTRUCTURE in failed else max(failed, default=OK)
