"""The greedy search: trying ahead and leaving early change the work and nothing else; a real tiny model on real pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.digits import CLASSES, Digits
from components.data.split import Split
from components.evaluate import Count, answered, counted, opened, outputs, stage, tally
from components.merge.greedy import greedy, visits
from components.merge.search import search
from components.models import build
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.predictors.head import Head
from components.types import DataError, Local
from components.weights import Checkpoint, mean

AHEAD = (1, 2, 4, 8)
DATA = Split(Digits(), 0.0, 0.1)


def exact(correct: int) -> Count:
    return Count(np.ones(100, bool), 100, correct)


class Oracle:
    """Counts of correct answers by members, and which sets were asked for."""

    def __init__(self, counts: dict[tuple[int, ...], int]) -> None:
        self.counts, self.asked = counts, []

    def __call__(self, sets: list[list[int]], best: Count | None, needed: int) -> list[Count]:
        self.asked += sets
        return [exact(self.counts[tuple(members)]) for members in sets]


def test_greedy_accepts_rejects_and_never_retries() -> None:
    oracle = Oracle({(2,): 50, (2, 0): 49, (2, 1): 51, (2, 1, 3): 60, (2, 1, 3, 4): 60})
    found = search([2, 0, 1, 3, 4], oracle, "gt")
    assert found.members == [2, 1, 3]
    assert oracle.asked == [[2], [2, 0], [2, 1], [2, 1, 3], [2, 1, 3, 4]]
    assert [(entry["index"], entry["accepted"], entry["correct"]) for entry in found.trace] == [
        (2, True, 50), (0, False, 49), (1, True, 51), (3, True, 60), (4, False, 60),
    ]  # fmt: skip
    assert found.trace[-1]["reason"] == "60 correct = 60"
    with pytest.raises(ValueError, match="accept is gt or ge"):
        search([2], oracle, "gte")  # type: ignore[arg-type]


@pytest.mark.parametrize(("accept", "members"), [("gt", [0]), ("ge", [0, 1, 2])])
def test_a_tie_is_rejected_by_gt_and_accepted_by_ge(accept: Any, members: list[int]) -> None:
    assert search([0, 1, 2], lambda sets, best, needed: [exact(7) for _ in sets], accept).members == members


def test_what_was_tried_behind_an_accepted_candidate_is_forgotten_and_counted() -> None:
    oracle = Oracle({(0,): 5, (0, 1): 4, (0, 2): 6, (0, 3): 9, (0, 2, 3): 6})
    found = search([0, 1, 2, 3], oracle, "gt", parallel=4)
    assert oracle.asked == [[0], [0, 1], [0, 2], [0, 3], [0, 2, 3]]
    assert (found.members, found.discarded) == ([0, 2], 100)
    assert found.trace == search([0, 1, 2, 3], oracle, "gt").trace


@dataclass
class World:
    """Models by their recorded right answers, and soups whose right answers are drawn for each set of members.

    known: which examples have a label; broken: {model: the first example on which a soup with it has no finite answer}.
    """

    seed: int
    models: int
    examples: int
    batch: int
    spread: float  # of skill: where it is 0 models tie

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.known = random.random(self.examples) < 0.9
        self.ease = random.normal(1.0, 1.5, self.examples)
        self.skill = self.spread * random.normal(size=self.models)
        self.broken = {i: int(random.integers(self.examples)) for i in range(self.models) if random.random() < 0.1}
        self.single = [self.right([i]) for i in range(self.models)]
        self.order = sorted(range(self.models), key=lambda i: (-int(self.single[i].sum()), i))

    def right(self, members: list[int]) -> np.ndarray:
        random = np.random.default_rng([self.seed, *sorted(members)])
        margins = self.ease + self.skill[members].mean() + random.normal(0, 1 / len(members), self.examples)
        return (margins > 0) & self.known

    def plain(self, accept: str) -> tuple[list[int], list[Any]]:
        """The sequential algorithm: every candidate is shown every example."""
        members: list[int] = []
        trace, best = [], -1
        for index in self.order:
            now = int(self.right([*members, index]).sum()) if not self.broken.keys() & {*members, index} else None
            accepted = now is not None and (now > best or (accept == "ge" and now == best))
            trace.append((index, accepted, now))
            if accepted:
                members, best = [*members, index], now
        return members, trace

    def attempts(self, sets: list[list[int]], best: Count | None, needed: int) -> list[Count]:
        """What `greedy` maps, with a table in the place of the models."""
        return [self.attempt(members, visits(self.single, ~self.known, members[-1], best), needed) for members in sets]

    def attempt(self, members: list[int], order: np.ndarray, needed: int) -> Count:
        right, bad = self.right(members), [self.broken[i] for i in members if i in self.broken]
        batches = [order[at : at + self.batch] for at in range(0, self.examples, self.batch)]
        return tally(batches, ("not finite" if np.isin(bad, batch).any() else right[batch] for batch in batches), self.known, needed)


worlds = st.builds(
    World, st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 80), st.integers(1, 20), st.sampled_from([0.0, 0.3, 2.0])
)


@given(worlds, st.sampled_from(["gt", "ge"]))
def test_members_and_trace_are_those_of_the_plain_algorithm(world: World, accept: Any) -> None:
    members, trace = world.plain(accept)
    if not members:
        with pytest.raises(ValueError, match="every candidate was rejected: not finite"):
            search(world.order, world.attempts, accept)
        return
    found = [search(world.order, world.attempts, accept, parallel) for parallel in AHEAD]
    assert all((each.members, each.trace) == (members, found[0].trace) for each in found)
    assert found[0].discarded == 0
    best = -1
    for entry, (index, accepted, now) in zip(found[0].trace, trace, strict=True):
        assert (entry["index"], entry["accepted"]) == (index, accepted)
        assert entry.get("correct", now) == now  # where it says a count, that is the count
        assert accepted <= ("correct" in entry) and entry["images"] <= world.examples
        if entry["reason"].startswith("at most"):
            most = int(entry["reason"].split()[2])
            assert most <= best - (accept == "ge") and (now is None or now <= most)
        best = now if accepted else best


@given(worlds, st.sampled_from(["gt", "ge"]), st.integers(1, 12), st.sampled_from(AHEAD))
def test_laws_of_the_search(world: World, accept: Any, part: int, parallel: int) -> None:
    """At least the best single model; each candidate once; from any prefix on, the same result."""
    world.broken.clear()
    asked: list[list[int]] = []

    def attempts(sets: list[list[int]], best: Count | None, needed: int) -> list[Count]:
        asked.extend(sets)
        return world.attempts(sets, best, needed)

    found = search(world.order, attempts, accept)
    assert len(asked) == len(world.order) and found.members[0] == world.order[0]
    assert world.right(found.members).sum() >= max(int(right.sum()) for right in world.single)
    begun = search(world.order[:part], world.attempts, accept, parallel)
    assert begun.trace == found.trace[: len(begun.trace)] and begun.members == found.members[: len(begun.members)]


def test_a_candidate_that_cannot_win_is_left_as_soon_as_it_is_known() -> None:
    """Ten examples, five of them wrong and met first, in batches of two: nine right answers are out of reach after one batch."""
    order, right = np.arange(10), np.arange(10) >= 5
    batches = [order[at : at + 2] for at in range(0, 10, 2)]

    def shown(needed: int) -> tuple[int, int, bool]:
        count = tally(batches, (right[batch] for batch in batches), np.ones(10, bool), needed)
        return count.shown, count.most, count.complete

    assert [shown(needed) for needed in (9, 7, 6, 5)] == [(2, 8, False), (4, 6, False), (6, 5, False), (10, 5, True)]
    best = Count(np.ones(10, bool), 10, 9)
    told = search([0, 1], lambda sets, *_: [best if len(sets[0]) == 1 else Count(right, 2, 8)], "gt").trace[1]
    assert told == {"index": 1, "accepted": False, "images": 2, "reason": "at most 8 correct < 9 after 2 of 10"}


def test_mistakes_are_looked_for_where_they_are_likely() -> None:
    alone = [np.array(row, bool) for row in ([0, 1, 0, 1, 1, 0], [1, 1, 0, 1, 1, 0], [1, 1, 0, 0, 1, 0])]
    unknown = np.array([0, 0, 0, 0, 0, 1], bool)
    soup = Count(np.array([1, 0, 1, 1, 1, 0], bool), 6, 4)
    # 1: the soup is wrong; 2, 0: the model is, 2 for all models; 3: wrong for another; 4: right for all; 5: has no label
    assert visits(alone, unknown, 0, soup).tolist() == [1, 2, 0, 3, 4, 5]


class Threads(Local):
    """`run.map` on threads that share a process."""

    def map(self, fn: Any, items: Any) -> list[Any]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda item: fn(**item), items))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Six moves of one real tiny classifier on the disk; the third is broken."""
    folder = tmp_path_factory.mktemp("models")
    run = Local(str(folder / "run"))
    base = zero_shot(pretrained(OpenClip(), run=run), CLASSES, ("the digit {}",), run=run)
    base.save(f"{folder}/base")
    start = dict(base.tensors())
    for trial in range(6):
        random = np.random.default_rng(trial)
        moved = {key: array + 0.02 * random.normal(size=array.shape).astype(np.float32) for key, array in start.items()}
        if trial == 2:
            moved["head.bias"] = np.full_like(moved["head.bias"], np.nan)
        Checkpoint.of(moved, base.spec, base.extras).with_spec(name=f"trial-{trial}").save(f"{folder}/{trial}")
    return [Checkpoint(f"{folder}/{trial}") for trial in range(6)]


@pytest.mark.parametrize("accept", ["gt", "ge"])
def test_greedy_on_a_real_model(models: list[Checkpoint], accept: Any, tmp_path: Any) -> None:
    """The whole path against every soup evaluated in full; nothing depends on how many candidates are tried at once."""
    run = Local(str(tmp_path))
    recorded = [outputs(model, DATA, run=run) if i != 2 else None for i, model in enumerate(models)]
    recorded[2] = max((each for each in recorded if each), key=lambda each: each.summary()["correct"])  # the broken one leads, or nearly
    soup = greedy(models, recorded, DATA, accept, run=run)
    ahead = [greedy(models, recorded, DATA, accept, run=Threads(str(tmp_path), parallel=q)) for q in (2, 4)]
    assert all(each.facts == soup.facts for each in ahead)
    trace, members, best = soup.facts["search"], [], -1
    for entry in trace:
        if entry["index"] == 2:
            assert not entry["accepted"] and ("has the value nan" in entry["reason"] or "non-finite logits" in entry["reason"])
            continue
        now = outputs(mean([models[i] for i in (*members, entry["index"])]), DATA, run=run).summary()["correct"]
        accepted = now > best or (accept == "ge" and now == best)
        assert (entry["accepted"], entry.get("correct", now)) == (accepted, now)
        members, best = ([*members, entry["index"]], now) if accepted else (members, best)
    assert soup.facts["members"] == members
    assert soup.facts["images"] == sum(entry["images"] for entry in trace) < soup.facts["plain"]
    soup.save(f"{tmp_path}/soup")
    assert Checkpoint(f"{tmp_path}/soup").spec["facts"]["members"] == members


def test_an_answer_does_not_depend_on_where_its_question_stands(models: list[Checkpoint], tmp_path: Any) -> None:
    run, module = Local(str(tmp_path)), build(mean(models[:2]))
    examples = opened(DATA, run)
    n, size = len(examples), stage(len(examples))

    def logits(order: np.ndarray) -> np.ndarray:
        batches = [order[at : at + size] for at in range(0, n, size)]
        found = np.empty((n, len(CLASSES)), np.float32)
        for batch, rows in zip(batches, answered(module, Head(), examples, (np.resize(each, size) for each in batches), run), strict=True):
            found[batch] = rows[: len(batch)]
        return found

    orders = [np.random.default_rng(seed).permutation(n) for seed in range(3)]
    assert len({logits(order).tobytes() for order in orders}) == 1
    whole = outputs(mean(models[:2]), DATA, run=run)
    for order in orders:
        count = counted(mean(models[:2]), DATA, order=order, needed=0, run=run)
        assert count.complete and np.array_equal(count.right, whole.correct)
    with pytest.raises(DataError, match=f"an order of {n - 1} examples, the data has {n}"):
        counted(models[0], DATA, order=np.arange(n - 1), needed=0, run=run)
