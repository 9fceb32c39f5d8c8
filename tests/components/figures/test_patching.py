"""The pictures of patches hold what their rows say."""

from __future__ import annotations

from components.figures import style
from components.figures.accuracies import draw_accuracies
from components.figures.broad_transfer import draw_broad_transfer
from components.figures.frontiers import draw_frontiers


def test_a_panel_for_each_task_with_its_ends_and_its_choice() -> None:
    spread = {f"{name}_{end}": 0.5 for name in ("supported", "patching") for end in ("low", "high")}
    rows = [
        {"task": f"task {t}", "alpha": a / 4, "supported": 0.9 - 0.1 * a, "patching": 0.1 * a + t / 10, "chosen": "yes" if a == 2 else "", **spread}
        for t in range(4)
        for a in range(5)
    ]
    for some, panels in ((rows[:5], 1), (rows, 4)):
        figure = draw_frontiers(some)
        drawn = [ax for ax in figure.axes if ax.axison]
        assert [ax.get_title(loc="left") for ax in drawn] == [f"task {t}" for t in range(panels)]
        told = {text.get_text(): text.get_weight() for text in drawn[0].texts}
        assert told == {f"\N{GREEK SMALL LETTER ALPHA} = {a}": "bold" if a == "0.5" else "normal" for a in ("0", "0.5", "1")}
        assert style.svg(figure, "frontiers").startswith("<?xml")


def test_what_is_sure_is_bold() -> None:
    rows = [
        {"patched": m, "task": t, "change": change, "change_low": change - 0.05, "change_high": change + 0.05}
        for m, t, change in (("a", "x", 0.5), ("a", "y", -0.01), ("b", "x", -0.2), ("b", "y", 0.0))
    ]
    figure = draw_broad_transfer(rows)
    assert [(text.get_text(), text.get_weight()) for text in figure.axes[0].texts] == [
        ("+50.0", "bold"), ("-1.0", "normal"), ("-20.0", "bold"), ("+0.0", "normal")
    ]  # fmt: skip


def test_kin_stand_under_their_set() -> None:
    rows = [
        {"set": s, "n": 9, "model": m, "accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
        for s in ("a", "a: larger", "b")
        for m in ("base", "patched")
    ]
    ax = draw_accuracies(rows).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "larger", "b"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["base", "patched"]
