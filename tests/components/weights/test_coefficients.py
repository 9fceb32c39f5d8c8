"""Coefficients that depend on the key: the first pattern that matches counts, however it is found."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from components.weights.coefficients import rule

TEXT = st.text("ab.*?[]!", max_size=4)  # few letters: patterns meet keys, and keys look like patterns
TABLES = st.lists(st.tuples(TEXT, st.integers(-3, 3)), max_size=8)


def first(table: Any, key: str) -> int:
    return next((number for pattern, number in table if fnmatchcase(key, pattern)), 0)


@given(st.lists(st.lists(TABLES, min_size=1, max_size=2), min_size=1, max_size=3), st.lists(TEXT, max_size=8))
def test_a_sum_of_products_of_tables_takes_the_first_match_of_each(terms: Any, keys: list[str]) -> None:
    products = [math.prod((rule(table) for table in factors), start=rule(1)) for factors in terms]
    total = sum(products[1:], products[0])
    for key in [*keys, *(pattern for factors in terms for table in factors for pattern, _ in table)]:
        expected = Fraction(sum(math.prod(first(table, key) for table in factors) for factors in terms))
        assert total.at(key) == expected
        assert total.at(key) == expected  # asked again
        assert type(total).from_json(total.to_json()).at(key) == expected


def test_hundreds_of_keys_named_one_by_one_are_looked_up_among_patterns() -> None:
    table = [("k1*9", 7), *((f"k{i}", i) for i in range(1000)), ("k5", -1), ("*", Fraction(1, 3))]
    one = rule(table)
    assert [one.at(f"k{i}") for i in (5, 18, 19, 109, 999)] == [5, 18, 7, 7, 999]
    assert one.at("other") == Fraction(1, 3)
