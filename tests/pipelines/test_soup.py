"""What the soup study describes: which exhibits there are, and that they leave what was computed before as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.dag import Fingerprints, Plan
from pipelines import tasks
from pipelines.report.compare import Comparison
from pipelines.soup import Soup

SOUP = Soup(task=tasks.SMOKE, trials=3, alphas=(0.25, 0.5))


def exhibits(study: Soup) -> dict[str, list[str]]:
    """The exhibits by name, with what goes into each."""
    found: Comparison = study.plan().about
    return {exhibit.name: list(exhibit.node.arguments.get("predictions") or exhibit.node.arguments.get("models") or ()) for exhibit in found.exhibits}


def keys(plan: Plan) -> set[str]:
    prints = Fingerprints()
    return {prints.key(node) for node in plan.nodes()}


def test_what_other_tasks_do_leaves_out_the_task_itself() -> None:
    shown = exhibits(replace(SOUP, others=(tasks.GARMENTS, tasks.DIGITS, tasks.SHAPES)))
    assert shown["transfer"] == ["zero-shot", "fine-tuned on garments", "fine-tuned on shapes", "soup of these"]
    assert exhibits(replace(SOUP, others=(tasks.SHAPES,)))["transfer"] == ["zero-shot", "fine-tuned on shapes"]
    assert "transfer" not in exhibits(replace(SOUP, others=(tasks.DIGITS,)))


def test_a_line_needs_a_point_between_its_ends_and_pairs_two_models() -> None:
    assert len(exhibits(SOUP)["flatness"]) == 4 and exhibits(SOUP)["pairs"] == ["0", "1", "2"]
    assert "flatness" not in exhibits(replace(SOUP, alphas=(0.0, 1.0)))
    with pytest.raises(ValueError, match=r"alpha = 1\.5: .* give alphas from 0 to 1"):
        replace(SOUP, alphas=(0.5, 1.5)).plan()
    alone = replace(SOUP, trials=1)
    assert "pairs" not in exhibits(alone) and not any("learned" in candidate.name for candidate in alone.plan().about.candidates)


def test_exhibits_add_nodes_and_change_none() -> None:
    """The line to the ensemble costs no prediction: it reads those of the table."""
    bare, whole = replace(SOUP, others=()).plan(), SOUP.plan()
    assert keys(bare) < keys(whole)
    (straight,) = (exhibit.node for exhibit in bare.about.exhibits if exhibit.name == "flatness")
    assert set(straight.arguments["predictions"]) <= {node for row in bare.about.answers.values() for node in row}


def test_the_rate_of_the_update_is_of_other_tasks_alone() -> None:
    """The space draws the trials' own."""
    slower = replace(SOUP, update=replace(SOUP.update, lr=1e-4), others=())
    assert keys(slower.plan()) == keys(replace(SOUP, others=()).plan())
