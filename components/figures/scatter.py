"""Accuracy in distribution against the mean over shifts: the picture of model soups (arXiv:2203.05482) and WiSE-FT (arXiv:2109.01903)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, FAINT, INK, KINDS, canvas, distinct, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "single": "one fine-tune",
    "zero_shot": "zero-shot",
    "best": "best single",
    "uniform": "uniform soup",
    "greedy": "greedy soup",
    "ensemble": "logit ensemble",
    "greedy_ensemble": "greedy ensemble",
    "wise": "WiSE-FT, by \N{GREEK SMALL LETTER ALPHA}",
    "other": "other",
}
TICKS = (0.01, 0.02, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
FINE = tuple(sorted({*TICKS, *(i / 100 for i in range(2, 99, 2)), *(i / 1000 for i in range(950, 999, 5))}))


def draw_scatter(rows: Sequence[Mapping[str, Any]], line: tuple[float, float] | None = None, x_label: str = "test accuracy (%)") -> Figure:
    """One mark for each model, on logit-scaled axes.

    rows: name, kind (a key of `NAMES`), alpha or None, x, y (shares) and, optionally, x_low, x_high, y_low, y_high; `wise` rows are joined
    by alpha. line: slope and intercept in logit space, drawn as the line that effective robustness is measured from.
    """
    figure, ax = canvas(5.7, 5.7)
    _scale(ax, rows)
    _guides(ax, line)
    others = list(dict.fromkeys(row["name"] for row in rows if row["kind"] == "other"))
    looks = distinct(["other"] * len(others))
    rows = sorted(rows, key=lambda row: row["alpha"] if row.get("alpha") is not None else -1.0)
    for name, kind, group in _groups(rows):
        colour, marker, size = looks[others.index(name)] if name in others else KINDS[kind]
        if kind not in ("single", "wise"):
            _whiskers(ax, group, colour)
        x, y = [_clip(r["x"]) for r in group], [_clip(r["y"]) for r in group]
        above, joined = (2 if kind == "single" else 4 if kind == "wise" else 6), "-" if kind == "wise" else "none"
        edge = {"markeredgecolor": CARD, "markeredgewidth": 0.9}
        ax.plot(
            x, y, marker=marker, linestyle=joined, linewidth=1.8, color=colour, markersize=size, zorder=above, label=name, **edge
        )
    _alphas(ax, rows)
    label(ax, x_label, "mean accuracy over shifts (%)")
    wide = max((len(row["name"]) for row in rows if row["kind"] == "other"), default=0) > 18  # three columns would squeeze the axes
    legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2 if wide else 3, handletextpad=0.5, columnspacing=1.6, labelspacing=0.8)
    return figure


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[Mapping[str, Any]]]]:
    """(what the legend says, kind, rows): all rows of a kind together, others one by one."""
    grouped = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    known = [(NAMES[kind], kind, group) for kind, group in grouped.items() if group and kind != "other"]
    return known + [(row["name"], "other", [row]) for row in grouped["other"]]


def _clip(share: float) -> float:
    return min(max(float(share), 0.001), 0.999)


def _scale(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Logit axes whose limits hold all marks with some air, and ticks in percent."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    dress(ax)
    for axis in ("x", "y"):
        values = [_clip(row[key]) for row in rows for key in (axis, f"{axis}_low", f"{axis}_high") if row.get(key) is not None]
        odds = [_logit(v) for v in values]
        air = max(0.05 * (max(odds) - min(odds)), 0.08)
        low, high = _share(min(odds) - air), _share(max(odds) + air)
        (ax.set_xscale if axis == "x" else ax.set_yscale)("logit")
        (ax.set_xlim if axis == "x" else ax.set_ylim)(low, high)
        ticks = [t for t in TICKS if low <= t <= high]
        if len(ticks) < 5:
            ticks = [t for t in FINE if low <= t <= high]
        which = ax.xaxis if axis == "x" else ax.yaxis
        which.set_major_locator(FixedLocator(ticks[:: max(1, -(-len(ticks) // 9))]))
        which.set_minor_locator(NullLocator())
        which.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g}"))
        which.set_minor_formatter(NullFormatter())


def _logit(p: float) -> float:
    from math import log

    return log(p / (1 - p))


def _share(odds: float) -> float:
    from math import exp

    return _clip(1 / (1 + exp(-odds)))


def _guides(ax: Axes, line: tuple[float, float] | None) -> None:
    """y = x, and the line through the baselines."""
    low, high = (_logit(v) for v in ax.get_xlim())
    steps = [low + (high - low) * i / 60 for i in range(61)]
    ax.plot(
        [_share(s) for s in steps], [_share(s) for s in steps], color=FAINT, linewidth=1, linestyle=(0, (1, 3)), zorder=1, label="y = x"
    )
    if line is not None:
        fit = [_share(line[0] * s + line[1]) for s in steps]
        ax.plot(
            [_share(s) for s in steps], fit, color=FAINT, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1, label="line of the fine-tunes"
        )


def _whiskers(ax: Axes, rows: Sequence[Mapping[str, Any]], colour: str) -> None:
    for row in rows:
        if row.get("x_low") is not None:
            ax.plot([_clip(row["x_low"]), _clip(row["x_high"])], [_clip(row["y"])] * 2, color=colour, linewidth=1, alpha=0.45, zorder=2)
        if row.get("y_low") is not None:
            ax.plot([_clip(row["x"])] * 2, [_clip(row["y_low"]), _clip(row["y_high"])], color=colour, linewidth=1, alpha=0.45, zorder=2)


def _alphas(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Label the points of the curve, above and to the left, where no label or other mark is near."""
    marks = [(_clip(row["x"]), _clip(row["y"])) for row in rows if row["kind"] not in ("wise", "zero_shot")]
    taken = [tuple(ax.transData.transform(mark)) for mark in marks]
    for row in rows:
        if row["kind"] == "wise":
            place = (_clip(row["x"]), _clip(row["y"]))
            x, y = ax.transData.transform(place)
            x, y = x - 9, y + 9
            if all((x - a) ** 2 + (y - b) ** 2 > 20**2 for a, b in taken):
                taken.append((x, y))
                ax.annotate(
                    f"{row['alpha']:.2g}", place, (-5, 5), textcoords="offset points", ha="right", fontsize=8.5, color=INK, zorder=7
                )
