"""Selection hygiene: a plan may not report on what it trained or selected on, however far away."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from components.data import Corrupted, Digits, Invert, Mixture, Split
from components.data.microworld import Rendered
from components.evaluate import predict, score
from components.merge.ensemble import ensemble, greedy_ensemble
from components.merge.greedy import greedy
from components.merge.uniform import uniform
from components.metrics import Top1
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import Monitor, train
from components.types import Dataset, revision
from components.updates.sgd import AdamW
from infra.dag import Node, Plan, call, search, top
from infra.space import Uniform

TRAIN, HELD_OUT, TEST = Split(Digits(), 0.0, 0.5), Split(Digits(), 0.5, 0.7), Split(Digits(), 0.7, 1.0)


@revision(1)
def table(scores: Annotated[list[Any], "reports"]) -> list[Any]:
    return scores


def base() -> Node:
    return call(zero_shot, model=call(pretrained, model=OpenClip()), classes=("a", "b"), prompts=("{}",))


def trained(data: Dataset = TRAIN, **arguments: Any) -> Node:
    return call(train, init=base(), data=data, objective=CrossEntropy(), update=AdamW(), steps=1, **arguments)


def scored(model: Node, data: Dataset) -> Node:
    return call(score, predictions=call(predict, checkpoint=model, data=data), metric=Top1(), split="test")


def report(*scores: Node) -> Plan:
    return Plan({"table": call(table, scores=list(scores))})


def test_disjoint_splits_pass() -> None:
    members = [trained(), trained(Split(Digits(), 0.0, 0.3))]
    chosen = [call(predict, checkpoint=member, data=HELD_OUT) for member in members]
    soup = call(greedy, models=members, predictions=chosen, data=HELD_OUT)
    assert len(report(scored(soup, TEST), scored(members[0], TEST)).nodes()) > 5


@pytest.mark.parametrize("low", [0.0, 0.2, 0.49])
def test_reporting_on_what_was_trained_on_is_refused(low: float) -> None:
    with pytest.raises(ValueError) as caught:
        report(scored(trained(), Split(Digits(), low, 1.0)))
    assert "would report on examples that were trained on" in str(caught.value)
    assert "give it a split of its own" in str(caught.value)


def test_touching_ranges_do_not_overlap() -> None:
    report(scored(trained(), Split(Digits(), 0.5, 0.6)))


def test_a_corrupted_copy_of_the_training_images_is_refused() -> None:
    with pytest.raises(ValueError, match="trained on"):
        report(scored(trained(), Corrupted(TRAIN, Invert())))
    with pytest.raises(ValueError, match="trained on"):
        report(scored(trained(Corrupted(Split(Digits(), 0.9, 1.0), Invert())), TEST))
    report(scored(trained(), Corrupted(TEST, Invert())))


def test_reporting_on_what_was_selected_on_is_refused() -> None:
    members = [trained(), trained(params="head.*")]
    chosen = [call(predict, checkpoint=member, data=TEST) for member in members]
    soup = call(greedy, models=members, predictions=chosen, data=HELD_OUT)
    with pytest.raises(ValueError, match="selected on"):
        report(scored(soup, TEST))
    report(scored(call(uniform, models=members), TEST))  # predictions that chose nothing are no selection


def test_the_monitor_of_a_training_selects() -> None:
    with pytest.raises(ValueError, match="selected on"):
        report(scored(trained(monitor=Monitor(data=TEST)), TEST))
    report(scored(trained(monitor=Monitor(data=HELD_OUT)), TEST))


def test_the_monitor_of_a_search_selects() -> None:
    fit: dict[str, Any] = {"init": base(), "data": TRAIN, "objective": CrossEntropy(), "update": AdamW(), "steps": 1}

    def best(data: Dataset) -> Node:
        return top(search(train, over={"update.lr": Uniform(0.1, 0.2)}, n=2, monitor=Monitor(data), **fit), 1)[0]

    with pytest.raises(ValueError, match="selected on"):
        report(scored(best(TEST), TEST))
    report(scored(best(HELD_OUT), TEST))


def test_selection_is_seen_through_an_ensemble() -> None:
    members = [trained(), trained(params="head.*")]
    chosen = [call(predict, checkpoint=member, data=TEST) for member in members]
    indices = call(greedy_ensemble, predictions=chosen)
    tested = [call(predict, checkpoint=member, data=TEST) for member in members]
    joint = call(ensemble, predictions=tested, members=indices)
    with pytest.raises(ValueError, match="selected on"):
        report(call(score, predictions=joint, metric=Top1(), split="test"))
    report(call(score, predictions=call(ensemble, predictions=tested), metric=Top1(), split="test"))


def test_each_answer_of_a_table_stands_for_itself() -> None:
    """Leave one domain out: what trained one model is what the other is tested on."""
    other = Rendered(n=10)
    report(scored(trained(), other), scored(trained(other), TEST))
    for model, data in ((trained(), TRAIN), (trained(other), other), (trained(Mixture((TRAIN, other))), other)):
        with pytest.raises(ValueError, match="trained on"):
            report(scored(trained(), other), scored(model, data), scored(trained(other), TEST))


def test_without_a_report_nothing_is_refused() -> None:
    Plan({"score": scored(trained(), TRAIN)})
