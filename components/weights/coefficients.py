"""Exact coefficients: a float means its shortest decimal, and a coefficient may depend on the key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cached_property
from numbers import Rational, Real
from typing import Any

Patterns = tuple[tuple[str, Fraction], ...]  # ordered; the first match wins, no match is 0
ZERO = Fraction(0)
WILD = frozenset("*?[")  # what makes a glob more than its own text


def exact(number: Any) -> Fraction:
    """0.1 is 1/10. ValueError for what is not a finite real number."""
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"a coefficient is a number or an ordered table of (key pattern, number), not {number!r}")
    if isinstance(number, Rational):
        return Fraction(int(number.numerator), int(number.denominator))
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"a coefficient must be finite, not {value}")
    return Fraction(repr(value))


class Lookup:
    """Patterns ready for many keys: those without a wildcard are looked up, the rest tried in their order, and the first that matches counts."""

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self._wild: list[int] = []
        self._plain: dict[str, int] = {}
        for i, (pattern, _) in enumerate(patterns):
            if WILD.isdisjoint(pattern):
                self._plain.setdefault(pattern, i)
            else:
                self._wild.append(i)

    def at(self, key: str) -> Fraction:
        """The coefficient of the first pattern that matches a key."""
        found = self._plain.get(key, len(self.patterns))
        for i in self._wild:
            if i > found:
                break
            if fnmatchcase(key, self.patterns[i][0]):
                return self.patterns[i][1]
        return self.patterns[found][1] if found < len(self.patterns) else ZERO


@dataclass(frozen=True)
class Rule:
    """A coefficient as a function of the key: a sum of products of a number and pattern lists, folded without looking at a key."""

    terms: tuple[tuple[tuple[Patterns, ...], Fraction], ...] = (((), Fraction(1)),)

    def __getstate__(self) -> dict[str, Any]:
        return {"terms": self.terms}  # not what was looked up

    def __add__(self, other: Rule) -> Rule:
        total = dict(self.terms)
        for factors, number in other.terms:
            total[factors] = total.get(factors, Fraction(0)) + number
        return Rule(tuple(sorted((factors, number) for factors, number in total.items() if number)))

    def __mul__(self, other: Rule) -> Rule:
        total = Rule(())
        for left, a in self.terms:
            for right, b in other.terms:
                total += Rule(((tuple(sorted(left + right)), a * b),))
        return total

    def at(self, key: str) -> Fraction:
        """The exact coefficient of a key."""
        if key not in self._known:
            products = [math.prod((lookup.at(key) for lookup in lookups), start=number) for lookups, number in self._products]
            self._known[key] = sum(products[1:], products[0]) if products else ZERO
        return self._known[key]

    @cached_property
    def _known(self) -> dict[str, Fraction]:
        return {}

    @cached_property
    def _products(self) -> list[tuple[list[Lookup], Fraction]]:
        return [([Lookup(patterns) for patterns in factors], number) for factors, number in self.terms]

    @property
    def plain(self) -> bool:
        """Whether it is one number for every key."""
        return not any(factors for factors, _ in self.terms)

    def to_json(self) -> Any:
        """`"p/q"`, or a list of {times, of: [[[pattern, "p/q"], ...], ...]}."""
        if self.plain:
            return str(self.at(""))
        return [
            {"times": str(number), "of": [[[pattern, str(value)] for pattern, value in patterns] for patterns in factors]}
            for factors, number in self.terms
        ]

    @classmethod
    def from_json(cls, value: Any) -> Rule:
        """What `to_json` wrote."""
        if isinstance(value, str):
            return cls((((), Fraction(value)),)) if Fraction(value) else cls(())
        total = cls(())
        for term in value:
            factors = tuple(tuple((pattern, Fraction(number)) for pattern, number in patterns) for patterns in term["of"])
            total += cls(((factors, Fraction(term["times"])),))
        return total


ONE = Rule()


def rule(weight: Any) -> Rule:
    """The rule of a number, a mapping or a list of (pattern, number)."""
    if isinstance(weight, Mapping):
        weight = list(weight.items())
    if isinstance(weight, Sequence) and not isinstance(weight, str):
        return Rule((((tuple((str(pattern), exact(number)) for pattern, number in weight),), Fraction(1)),))
    number = exact(weight)
    return Rule((((), number),)) if number else Rule(())
