"""A limit on what a run may cost: above it a person is asked, and where there is none the run is refused before it begins."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from infra import settings
from infra.dag import Plan
from pipelines.commands.cost import Cost, amount, prices, unknown
from pipelines.commands.plan import Outlook
from pipelines.commands.session import open_store
from pipelines.commands.studies import Options, option


@dataclass(frozen=True)
class Asked(Options):
    """Where and how to run, and up to which cost nobody is asked."""

    prices: str = option("", "YAML with the price of an hour of a gpu and of a cpu node (default: $STOCKPOT_PRICES)")
    limit: float | None = option(None, "money that a run may cost by the records' durations; above it, or where they do not tell, it asks")
    limit_hours: float | None = option(None, "the same in node-hours")
    yes: bool = option(False, "the answer where a limit asks")


def agree(plan: Plan, options: Asked) -> None:
    """Nothing where the run stays below its limits, or was agreed to. ValueError where it does not, or where that is not known."""
    limits = {"--limit": options.limit, "--limit_hours": options.limit_hours}
    if wrong := next((f"{flag} {value}" for flag, value in limits.items() if value is not None and not 0 <= value < float("inf")), ""):
        raise ValueError(f"{wrong}: give a number from 0")
    rates = prices(options.prices)
    if options.limit is not None and not rates:
        raise ValueError("--limit is money, and there are no prices: give --prices FILE, or --limit_hours for node-hours")
    if options.yes or all(limit is None for limit in limits.values()):
        return
    outlook = Outlook(open_store(options, create=False, optional=True), plan, rates, options.on)
    outlook.stages()
    if reason := above(outlook.cost, options):
        ask(reason)


def above(cost: Cost, options: Asked) -> str:
    """Why a run needs somebody's word; "" where it does not."""
    facts = cost.facts()
    money, hours = facts["money"] or 0.0, sum(cost.hours.values())
    spent = [(f"--limit {options.limit:g}", money, options.limit)] if options.limit is not None else []
    spent += [(f"--limit_hours {options.limit_hours:g}", hours, options.limit_hours)] if options.limit_hours is not None else []
    least = "at least " if cost.unknown else ""
    over = [flag for flag, value, limit in spent if limit is not None and value > limit]
    if over:
        return f"this run takes {least}{amount(facts)}: more than {' and '.join(over)}"
    if cost.unknown:
        known = f"this run takes at least {amount(facts)}, and " if cost.hours else ""
        return f"{known}no record tells how long {unknown(cost.unknown)} will take"
    return ""


def ask(reason: str) -> None:
    """A question on the terminal. ValueError for any answer but yes, and where nobody can answer."""
    if not settings.on_terminal(sys.stdin) or not sys.stderr.isatty():
        raise ValueError(f"{reason}; add --yes to run it all the same, or look first: stockpot plan, with --calibrate where records are missing")
    print(f"{reason}.\nRun it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ValueError("not begun: nothing was computed")
