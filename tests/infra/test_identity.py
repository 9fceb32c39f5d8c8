"""Identity: what changes a fingerprint, what must not, and what is refused with its remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.types import revision
from components.weights.digests import digests_of
from infra.dag import Fingerprints, Plan, call, draw, sweep
from infra.space import LogUniform, Uniform
from infra.store.pins import Pins
from infra.store.place import Place
from pipelines import tasks
from pipelines.soup import PRESETS


@revision(1)
@dataclass(frozen=True)
class Knob:
    rate: float = 0.1
    batch: int = 32


@revision(1)
@dataclass(frozen=True)
class Wide:
    """A knob with knobs in it, one of them made by a factory."""

    first: Knob
    second: Knob = field(default_factory=Knob)


@revision(1)
@dataclass(frozen=True)
class Source:
    url: Annotated[str, "address"]
    pinned: Annotated[str, "content"] = ""
    resize: int = 0


@dataclass
class Mutable:
    rate: float = 0.1


@dataclass(frozen=True)
class Unmarked:
    rate: float = 0.1


@revision(1)
@dataclass(frozen=True)
class Loose:
    anything: Any = None


@revision(1)
def fit(data: Any, knob: Knob = Knob(), scale: float = 1.0, steps: int = 10, weights: Any = (), *, run: Any = None) -> float:
    return 0.0


def of(**arguments: Any) -> str:
    return Fingerprints().of(call(fit, **{"data": 0, **arguments}))


def test_what_equals_its_default_is_left_out() -> None:
    assert of() == of(knob=Knob(), scale=1.0, steps=10, weights=[]) == of(knob=Knob(rate=0.1))
    assert of(data=Wide(Knob())) == of(data=Wide(Knob(), Knob(0.1, 32)))
    assert len({of(), of(knob=Knob(rate=0.2)), of(scale=2.0), of(steps=11), of(weights=[0])}) == 5


def test_one_is_one_point_nought_where_a_float_is_meant() -> None:
    assert of(scale=2) == of(scale=2.0)
    assert of(knob=Knob(rate=1)) == of(knob=Knob(rate=1.0))
    assert of(scale=1) == of()
    assert of(data=1) != of(data=1.0)  # nothing says that a real number is meant


def test_a_new_defaulted_knob_leaves_the_identity() -> None:
    @revision(1)
    def fit(data: Any, knob: Knob = Knob(), novel: int = 3) -> float:
        return 0.0

    fit.__qualname__ = "fit"
    assert Fingerprints().of(call(fit, data=0)) == of()
    assert Fingerprints().of(call(fit, data=0, novel=4)) != of()


def test_a_further_trial_or_knob_leaves_the_others() -> None:
    def prints(space: dict[str, Any], trials: int) -> list[str]:
        return [Fingerprints().of(node) for node in sweep(fit, over=draw(space, trials, seed=0), data=0, knob=Knob())]

    three = prints({"knob.rate": LogUniform(1e-4, 1e-2)}, 3)
    assert prints({"knob.rate": LogUniform(1e-4, 1e-2)}, 5)[:3] == three
    assert len(set(three)) == 3
    wide = draw({"scale": Uniform(0, 1), "knob.rate": LogUniform(1e-4, 1e-2)}, 3, seed=0)
    assert [point["knob.rate"] for point in wide] == [p["knob.rate"] for p in draw({"knob.rate": LogUniform(1e-4, 1e-2)}, 3, seed=0)]


def test_a_revision_of_the_function_or_of_a_knob_changes_the_identity() -> None:
    @revision(2)
    def fit(data: Any) -> float:
        return 0.0

    @revision(2)
    @dataclass(frozen=True)
    class Knob:
        rate: float = 0.1

    fit.__qualname__ = "fit"
    assert Fingerprints().of(call(fit, data=0)) != of()
    assert of(data=Knob()) != of(data=globals()["Knob"]())


def test_order_is_identity() -> None:
    assert of(weights=[1, 2]) != of(weights=[2, 1])
    assert of(weights={"a": 1, "b": 2}) != of(weights={"b": 2, "a": 1})
    assert of(weights=[1, 2]) == of(weights=(1, 2))


def test_execution_is_no_part_of_the_identity() -> None:
    from infra.dag import GPU

    nodes = call(fit, data=0), call(fit, data=0, on=GPU, at_least=2, label="another name")
    assert len({Fingerprints().of(node) for node in nodes}) == 1


def test_the_identity_of_an_input_is_part_of_the_identity() -> None:
    assert of(weights=[call(fit, data=1)]) != of(weights=[call(fit, data=2)])
    assert of(weights=[call(fit, data=1)]) == of(weights=[call(fit, data=1)])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_has_one_identity(value: float) -> None:
    assert of(scale=value) == of(scale=float(repr(value)))


NODE = call(fit, data=0)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (lambda x: x, "use numbers, strings, lists or frozen dataclasses"),
        ({1, 2}, "use numbers, strings, lists or frozen dataclasses"),
        (Path("x"), "use numbers, strings, lists or frozen dataclasses"),
        (float("nan"), "give a finite number"),
        ([1.0, float("inf")], "give a finite number"),
        ({1: "a"}, "must be strings"),
        (Mutable(), "declare it @dataclass(frozen=True)"),
        (Unmarked(), "decorate it with @revision(1), or pass its fields"),
        (Loose(Loose(float("nan"))), "data.anything.anything"),
        (Loose(NODE), "pass it to the call itself"),
        (Loose([NODE]), "pass it to the call itself"),
        (tasks.DIGITS, "pass its fields"),
        (PRESETS["tiny"], "pass its fields"),
    ],
    ids=str,
)
def test_what_has_no_exact_identity_is_refused_with_the_remedy(value: Any, remedy: str) -> None:
    with pytest.raises(ValueError) as caught:
        call(fit, data=value)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_that_workers_cannot_find_again_is_refused() -> None:
    @revision(1)
    def local(data: Any) -> float:
        return 0.0

    with pytest.raises(ValueError, match="at the top of a module"):
        call(local, data=0)
    with pytest.raises(ValueError, match="has no revision"):
        call(len, obj=[])


def photos(folder: Path, content: str = "a") -> Path:
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_text(content)
    (folder / "cat" / "2.png").write_text("two")
    return folder


def test_data_has_identity_by_content_not_by_address(tmp_path: Path) -> None:
    first, moved, changed = photos(tmp_path / "a"), photos(tmp_path / "b" / "c"), photos(tmp_path / "d", "other bytes")

    def fingerprint(url: Path, **options: Any) -> str:
        node = call(fit, data=Source(str(url), **options))
        pins = Pins(Place(str(tmp_path / "store")), digests_of).of(Plan({"x": node}))
        return Fingerprints(pins).of(node)

    assert fingerprint(first) == fingerprint(moved)
    assert fingerprint(first) != fingerprint(changed)
    assert fingerprint(first) != fingerprint(first, resize=64)
