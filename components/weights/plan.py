"""What a result will hold and where each of its bytes comes from, decided from headers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from components.weights.agreement import Ingredient
from components.weights.coefficients import ONE, Rule
from components.weights.layout import AVERAGED, NAMES, Entry, Layout, arrange
from components.weights.parts import Part
from components.weights.policy import Policy

if TYPE_CHECKING:
    from components.weights.blend import Method

EXACT = 1 << 53
Terms = list[tuple[int, Fraction, Entry]]  # source, coefficient, where in its file
Choice = tuple[str, str, Terms]  # kind, dtype of the result
STATISTICS = ("*running_mean", "*running_var")
COUNTER = "*num_batches_tracked"


@dataclass(frozen=True)
class Source:
    """A file with its rule: files of equal recorded digest are one source, of which the first is read."""

    name: str
    part: Part
    rule: Rule
    same: tuple[Part, ...] = ()  # the others


@dataclass
class Slot:
    """A tensor of the result, or several that follow each other in every file: which bytes of which sources, by which coefficients."""

    kind: str  # averaged, blended by a method, copied from the first source, or equal: copied once all sources are found to be equal
    keys: list[tuple[str, int]]  # with the number of values of each
    entry: Entry
    sources: Terms

    def joins(self, other: Slot) -> bool:
        """Whether `other`, the next in the result, continues this slot in every source."""
        return (
            self.kind == other.kind != "blended"  # a method is told which tensor it works on
            and self.entry.dtype == other.entry.dtype
            and len(self.sources) == len(other.sources)
            and all(
                (i, a, x.dtype, x.stop) == (j, b, y.dtype, y.start)
                for (i, a, x), (j, b, y) in zip(self.sources, other.sources, strict=True)
            )
        )

    def joined(self, other: Slot) -> Slot:
        """Both as one."""
        sources = [(i, a, _span(x, y)) for (i, a, x), (_, _, y) in zip(self.sources, other.sources, strict=True)]
        return Slot(self.kind, self.keys + other.keys, _span(self.entry, other.entry), sources)

    @cached_property
    def factors(self) -> tuple[int, list[float]]:
        """(divisor, factors): integers while they are exact in float64, so that the mean of equal values is that value."""
        numbers = [number for _, number, _ in self.sources]
        below = math.lcm(*(number.denominator for number in numbers))
        above = [number.numerator * (below // number.denominator) for number in numbers]
        if max(below, *map(abs, above)) > EXACT:
            return 1, [float(number) for number in numbers]
        return below, [float(number) for number in above]

    @property
    def alone(self) -> bool:
        """Whether it is one tensor as it is: a byte copy."""
        return len(self.sources) == 1 and self.sources[0][1] == 1 and self.sources[0][2].dtype == self.entry.dtype

    def key(self, at: int) -> str:
        """The tensor that holds value number `at`."""
        for key, count in self.keys:
            if at < count:
                return key
            at -= count
        raise AssertionError("beyond the slot")


def _span(first: Entry, last: Entry) -> Entry:
    return Entry(first.dtype, (first.count + last.count,), first.start, last.stop)


@dataclass
class Plan:
    """What one file of the result will hold, and where each byte comes from."""

    sources: list[Source]
    layout: Layout
    slots: list[Slot]
    report: dict[str, list[str]]  # averaged, copied, counters, from_base, mixed: keys
    method: Method | None = None  # of the blended slots
    prepared: Any = None  # its statistics

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return max((entry.stop for entry in self.layout.values()), default=0)

    @cached_property
    def starts(self) -> list[int]:
        """Where each slot begins."""
        return [slot.entry.start for slot in self.slots]

    @property
    def used(self) -> list[int]:
        """The sources that some slot reads."""
        return sorted({i for slot in self.slots for i, _, _ in slot.sources})


def sources(ingredients: Sequence[Ingredient], role: str) -> list[Source]:
    """The files of a role in the order of their digests; equal recorded digests fold into one, the rest keep the given order on ties."""
    found: dict[tuple[str, int], Source] = {}
    held = [(one, one.parts[role]) for one in ingredients if role in one.parts]
    for i, (one, part) in enumerate(held):
        digest = part.digest if len(held) > 1 else ""  # alone, it need not be known
        place = (digest, -1 if part.recorded else i)
        if place in found:
            first = found[place]
            found[place] = replace(first, rule=first.rule + one.rule, same=(*first.same, part))
        else:
            found[place] = Source(part.label, part, one.rule)
    return [found[place] for place in sorted(found)]


def plan(ingredients: Sequence[Ingredient], role: str, policy: Policy, method: Method | None = None) -> Plan:
    """Decide for every key what is averaged, copied or refused; the ingredients have been found to agree.

    With a method the float tensors are blended by it instead, from all ingredients in the order given.
    """
    files = [Source(one.name, one.parts[role], one.rule) for one in ingredients if role in one.parts] if method else sources(ingredients, role)
    keys = {key: None for source in files for key in source.part.layout}
    base = _base(ingredients, role, files) if policy.bn == "from_base" else None
    report: dict[str, list[str]] = {"averaged": [], "copied": [], "counters": [], "from_base": [], "mixed": []}
    chosen: dict[str, Choice] = {}
    for key in keys:
        terms = [(i, number, files[i].part.layout[key]) for i in range(len(files)) if (number := _at(files[i], key))]
        if terms:
            chosen[key] = _choose(key, terms, files, policy, base, report)
            if method and chosen[key][0] == "averaged" and chosen[key][2] is terms:
                chosen[key] = ("blended", *chosen[key][1:])
    return Plan(files, *_slots(chosen), report, method)


def copy(part: Part) -> Plan:
    """Every tensor of one file, bit for bit and unchecked, in our layout."""
    chosen = {key: ("copied", entry.dtype, [(0, Fraction(1), entry)]) for key, entry in part.layout.items()}
    return Plan([Source(part.label, part, ONE)], *_slots(chosen), {"copied": list(chosen)})


def _slots(chosen: Mapping[str, Choice]) -> tuple[Layout, list[Slot]]:
    """The result's layout, and its tensors in that order, joined where they follow each other in every file."""
    layout = arrange({key: (code, terms[0][2].shape) for key, (_, code, terms) in chosen.items()})
    slots: list[Slot] = []
    for key, entry in layout.items():
        kind, _, terms = chosen[key]
        slot = Slot(kind, [(key, entry.count)], entry, terms)
        if slots and slots[-1].joins(slot):
            slots[-1] = slots[-1].joined(slot)
        else:
            slots.append(slot)
    return layout, slots


def _at(source: Source, key: str) -> Fraction:
    return source.rule.at(key) if key in source.part.layout else Fraction(0)


def _base(ingredients: Sequence[Ingredient], role: str, files: Sequence[Source]) -> int | None:
    """The source that is the common ancestor itself."""
    ancestors = {one.spec.get("ancestry") for one in ingredients}
    return next((i for i, source in enumerate(files) if {source.part.digest} == ancestors), None) if role == "model" else None


def _choose(key: str, terms: Terms, files: Sequence[Source], policy: Policy, base: int | None, report: dict[str, list[str]]) -> Choice:
    """(kind, dtype, terms) of one key of the result."""
    codes = [entry.dtype for _, _, entry in terms]
    if codes[0] not in AVERAGED:
        if fnmatchcase(key, COUNTER):
            report["counters"].append(key)
            return "copied", codes[0], terms[:1]
        report["copied"].append(key)
        return "equal" if len(terms) > 1 else "copied", codes[0], terms
    mixed = len(set(codes)) > 1
    code = NAMES[policy.dtype] if policy.dtype else "F32" if mixed else codes[0]
    if mixed and not policy.dtype:
        report["mixed"].append(key)
    if len(terms) > 1 and any(fnmatchcase(key, pattern) for pattern in STATISTICS) and policy.bn != "average":
        if _equal(terms, files):
            report["copied"].append(key)
            return "averaged", code, [(terms[0][0], Fraction(1), terms[0][2])]
        if base is None:
            raise ValueError(_refusal(key, [files[i].name for i, _, _ in terms], policy))
        report["from_base"].append(key)
        entry = files[base].part.layout[key]
        return "averaged", NAMES[policy.dtype] if policy.dtype else entry.dtype, [(base, Fraction(1), entry)]
    alone = len(terms) == 1 and terms[0][1] == 1 and code == codes[0]
    report["copied" if alone else "averaged"].append(key)
    return "averaged", code, terms


def _refusal(key: str, names: list[str], policy: Policy) -> str:
    if policy.bn == "from_base":
        return f"{key} cannot come from the base: the common ancestor is not among the ingredients; add 0 * base, or say --bn average"
    pair = f"cannot average {names[0]} with {names[1]}"
    return f"{pair}: their BatchNorm was trained, {key} differs; say --bn from_base | average | recompute=URL"


def _equal(terms: Terms, files: Sequence[Source]) -> bool:
    if len({entry.dtype for _, _, entry in terms}) > 1:
        return False
    contents = set()
    for i, _, entry in terms:
        buffer = bytearray(entry.stop - entry.start)
        reader = files[i].part.reader()
        reader.read(entry.start, memoryview(buffer))
        reader.close()
        contents.add(bytes(buffer))
    return len(contents) == 1
