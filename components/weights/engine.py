"""One streamed pass evaluates a linear combination: memory grows with neither the number nor the size of the ingredients.

Values are widened, multiplied by integer numerators, summed in float64 in the order of the ingredients' digests, and divided once: the
mean of equal tensors is then bit-equal to each of them, and the order in which they were given cannot show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction

import numpy as np

from components.weights.agreement import Ingredient
from components.weights.coefficients import ONE, Rule
from components.weights.layout import AVERAGED, DTYPES, NAMES, Entry, Layout, arrange, narrow, raw_bytes, widen
from components.weights.parts import Part, Reader
from components.weights.policy import NotFinite, Policy

SLAB = 1 << 19  # values held at once
EXACT = 1 << 53
Terms = list[tuple[int, Fraction, Entry]]  # source, coefficient, where in its file
Choice = tuple[str, str, Terms]  # kind, dtype of the result
STATISTICS = ("*running_mean", "*running_var")
COUNTER = "*num_batches_tracked"


@dataclass(frozen=True)
class Source:
    """A file with its rule: files of equal recorded digest are one source."""

    name: str
    part: Part
    rule: Rule


@dataclass
class Slot:
    """A tensor of the result, or several that follow each other in every file: which bytes of which sources, by which coefficients."""

    kind: str  # averaged, copied from the first source, or equal: copied once all sources are found to be equal
    keys: list[tuple[str, int]]  # with the number of values of each
    entry: Entry
    sources: Terms

    def joins(self, other: Slot) -> bool:
        """Whether `other`, the next in the result, continues this slot in every source."""
        return (
            self.kind == other.kind
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


def sources(ingredients: Sequence[Ingredient], role: str) -> list[Source]:
    """The files of a role in the order of their digests; equal recorded digests fold into one, the rest keep the given order on ties."""
    found: dict[tuple[str, int], Source] = {}
    held = [(one, one.parts[role]) for one in ingredients if role in one.parts]
    for i, (one, part) in enumerate(held):
        digest = part.digest if len(held) > 1 else ""  # alone, it need not be known
        place = (digest, -1 if part.recorded else i)
        if place in found:
            found[place] = Source(found[place].name, found[place].part, found[place].rule + one.rule)
        else:
            found[place] = Source(part.label, part, one.rule)
    return [found[place] for place in sorted(found)]


def plan(ingredients: Sequence[Ingredient], role: str, policy: Policy) -> Plan:
    """Decide for every key what is averaged, copied or refused; the ingredients have been found to agree."""
    files = sources(ingredients, role)
    keys = {key: None for source in files for key in source.part.layout}
    base = _base(ingredients, role, files) if policy.bn == "from_base" else None
    report: dict[str, list[str]] = {"averaged": [], "copied": [], "counters": [], "from_base": [], "mixed": []}
    chosen: dict[str, Choice] = {}
    for key in keys:
        terms = [(i, number, files[i].part.layout[key]) for i in range(len(files)) if (number := _at(files[i], key))]
        if terms:
            chosen[key] = _choose(key, terms, files, policy, base, report)
    return Plan(files, *_slots(chosen), report)


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
            return "equal", codes[0], terms
        if base is None:
            raise ValueError(_refusal(key, [files[i].name for i, _, _ in terms], policy))
        report["from_base"].append(key)
        entry = files[base].part.layout[key]
        return "averaged", NAMES[policy.dtype] if policy.dtype else entry.dtype, [(base, Fraction(1), entry)]
    report["averaged"].append(key)
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
        files[i].part.reader().read(entry.start, memoryview(buffer))
        contents.add(bytes(buffer))
    return len(contents) == 1


def stream(plan: Plan) -> Iterator[memoryview]:
    """The bytes of the result's tensors in the order of its layout; each piece is valid until the next is asked for."""
    readers = [source.part.reader() for source in plan.sources]
    used = {i for slot in plan.slots for i, _, _ in slot.sources}
    total, raw = np.empty(SLAB, np.float64), np.empty(SLAB * 8, np.uint8)
    for slot in plan.slots:
        for low in range(0, slot.entry.count, SLAB):
            count = min(SLAB, slot.entry.count - low)
            if slot.kind == "averaged":
                result = _average(plan, readers, slot, low, total[:count], raw)
            else:
                result = _copy(plan, readers, slot, low, count, raw)
            yield raw_bytes(result)
    for i in sorted(used):
        readers[i].finish()


def _load(reader: Reader, entry: Entry, low: int, count: int, raw: np.ndarray) -> np.ndarray:
    dtype = DTYPES[entry.dtype]
    piece = raw[: count * dtype.itemsize]
    reader.read(entry.start + low * dtype.itemsize, raw_bytes(piece))
    return piece.view(dtype)


def _copy(plan: Plan, readers: Sequence[Reader], slot: Slot, low: int, count: int, raw: np.ndarray) -> np.ndarray:
    first = _load(readers[slot.sources[0][0]], slot.sources[0][2], low, count, raw)
    if slot.kind == "equal":
        first = first.copy()
        for i, _, entry in slot.sources[1:]:
            other = _load(readers[i], entry, low, count, raw)
            if other.tobytes() != first.tobytes():
                key = slot.key(low + int(np.flatnonzero(other != first)[0]))
                names = [plan.sources[j].name for j in (slot.sources[0][0], i)]
                raise ValueError(f"cannot average {names[0]} with {names[1]}: {key} is {slot.entry.dtype}, is never averaged, and differs")
    return first


def _average(plan: Plan, readers: Sequence[Reader], slot: Slot, low: int, total: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The linear combination of one slab, rounded to the result's dtype."""
    numbers = [number for _, number, _ in slot.sources]
    below = math.lcm(*(number.denominator for number in numbers))
    factors = [float(number * below) for number in numbers]
    if max(below, *map(abs, factors)) > EXACT:
        below, factors = 1, [float(number) for number in numbers]
    alone = len(numbers) == 1 and numbers[0] == 1
    for k, (i, _, entry) in enumerate(slot.sources):
        values = _load(readers[i], entry, low, len(total), raw)
        if alone and entry.dtype == slot.entry.dtype:
            if not np.isfinite(widen(values)).all():
                _culprit(plan, readers, slot, low, len(total), raw)
            return values
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
            if k == 0:
                np.multiply(widen(values), factors[k], out=total, dtype=np.float64)
            else:
                total += np.multiply(widen(values), factors[k], dtype=np.float64)
    if below != 1:
        total /= below
    result = narrow(total, slot.entry.dtype)
    if not np.isfinite(widen(result)).all():
        _culprit(plan, readers, slot, low, len(total), raw)
        at = int(np.flatnonzero(~np.isfinite(widen(result)))[0])
        raise ValueError(
            f"{slot.key(low + at)} becomes {total[at]:.4g}, which {AVERAGED[slot.entry.dtype]} cannot hold; "
            "ask for a wider dtype, or for smaller coefficients"
        )
    return result


def _culprit(plan: Plan, readers: Sequence[Reader], slot: Slot, low: int, count: int, raw: np.ndarray) -> None:
    """Read the slab once more to name the ingredient and the key that brought NaN or infinity in."""
    for i, _, entry in slot.sources:
        values = widen(_load(readers[i], entry, low, count, raw))
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise NotFinite(plan.sources[i].name, slot.key(low + int(bad[0])), float(values[bad[0]]))
