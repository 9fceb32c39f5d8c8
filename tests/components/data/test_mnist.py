"""The domains of MNIST: disjoint hands, colours that agree as often as said, and nothing random but by id."""

from __future__ import annotations

import numpy as np
import pytest

from components.data import Corrupted, Dealt, Digits, Invert, Sample, Split, Tinted
from components.types import Local


def test_hands_are_disjoint_and_make_the_whole(run: Local) -> None:
    hands = [Dealt(Digits(), hand, 6).open(run) for hand in range(6)]
    whole = Digits().open(run)
    assert sorted(name for hand in hands for name in hand.ids) == sorted(whole.ids)
    assert all(250 < len(hand) < 350 for hand in hands)  # 1797 / 6 = 299.5, and the hash deals evenly
    again = Dealt(Sample(Digits(), 500), 2, 6).open(run)
    assert set(again.ids) < set(hands[2].ids)  # other examples do not move an example to another hand


def test_a_hand_is_divided_like_any_data(run: Local) -> None:
    """The deal is independent of Split's hash: each part of a hand has its share."""
    hand = Dealt(Digits(), 0, 6)
    low, high = Split(hand, 0.0, 0.2).open(run), Split(hand, 0.2, 1.0).open(run)
    assert len(low) + len(high) == len(hand.open(run)) and 0.12 < len(low) / len(hand.open(run)) < 0.28


@pytest.mark.parametrize(("turned", "agree"), [(0.1, 0.9), (0.2, 0.8), (0.9, 0.1)])
def test_the_colour_agrees_as_often_as_it_is_said(turned: float, agree: float, run: Local) -> None:
    plain, tinted = Digits().open(run), Tinted(Digits(), turned).open(run)
    assert np.mean(tinted.labels == (plain.labels < 5)) == pytest.approx(0.75, abs=0.03)
    images = np.stack(tinted.images(range(len(tinted))))
    assert images[..., 2].max() == 0 and (images[..., 0].any(axis=(1, 2)) ^ images[..., 1].any(axis=(1, 2))).all()  # one of two channels
    assert np.mean(images[..., 1].any(axis=(1, 2)) == tinted.labels) == pytest.approx(agree, abs=0.025)
    assert np.array_equal(images.max(axis=3), np.stack(plain.images(range(len(plain))))[..., 0])


def test_colours_are_a_function_of_the_id(run: Local) -> None:
    whole, some = Tinted(Digits(), 0.2).open(run), Tinted(Sample(Digits(), 40), 0.2).open(run)
    where = [whole.ids.tolist().index(name) for name in some.ids]
    assert np.array_equal(whole.labels[where], some.labels)
    assert all(np.array_equal(a, b) for a, b in zip(whole.images(where), some.images(range(40)), strict=True))
    taken = Split(Tinted(Digits(), 0.2), 0.0, 0.1).open(run)
    assert np.array_equal(taken.images([3])[0], whole.images([whole.ids.tolist().index(taken.ids[3])])[0])
    assert len({Tinted(Digits(), share).open(run).digest for share in (0.1, 0.2)} | {whole.digest}) == 2


def test_what_makes_no_domain_is_refused(run: Local) -> None:
    with pytest.raises(ValueError, match="hand 3 of 3; count from 0"):
        Dealt(Digits(), 3, 3)
    with pytest.raises(ValueError, match=r"Dealt: hand \d+ of 900 is empty: the dataset has 3 examples"):
        [Dealt(Sample(Digits(), 3), hand, 900).open(run) for hand in range(900)]
    with pytest.raises(ValueError, match="probabilities"):
        Tinted(Digits(), 1.5)
    with pytest.raises(ValueError, match="no digits"):
        Tinted(Corrupted(Letters(), Invert()), 0.1).open(run)


class Letters(Digits):
    """Digits with labels beyond nine."""

    def open(self, run: Local) -> object:
        examples = super().open(run)
        examples.labels = examples.labels + 5
        return examples
