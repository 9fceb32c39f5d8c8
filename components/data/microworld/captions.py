"""What is said of a drawing: three captions an image, 60 % of them short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.data.microworld.atlas import names

if TYPE_CHECKING:
    from numpy.random import Generator

    from components.data.microworld.renderer import Recipe, Scene

CAPTIONS = 3
EFFECTS = ("clean", "noisy", "blurred", "coarse")


def thing(subject: str, name: str) -> str:
    """The noun phrase of a class: "the digit three", "an ankle boot", "a ring"."""
    if subject == "digits":
        return f"the digit {name}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def write(recipe: Recipe, scene: Scene, colours: Sequence[str], grounds: Sequence[str], rng: Generator) -> list[tuple[str, ...]]:
    """[B] tuples of CAPTIONS sentences."""
    nouns = [names(subject) for subject, _ in recipe.mix]
    pick = rng.integers(0, 6, (len(scene.label), CAPTIONS)).tolist()
    short = (rng.random((len(scene.label), CAPTIONS)) < 0.6).tolist()
    said = []
    for i, (s, c) in enumerate(zip(scene.subject.tolist(), scene.label.tolist(), strict=True)):
        subject, name = recipe.mix[s][0], nouns[s][c]
        what = thing(subject, name)
        bare = f"digit {name}" if subject == "digits" else name
        ink, paper = colours[scene.ink[i]], colours[scene.paper[i]]
        x, y = scene.shift[i].tolist()
        place = ("left" if x < 0 else "right") if abs(x) > abs(y) else ("top" if y < 0 else "bottom")
        size = "large" if scene.size[i] > 0.95 else "small"
        long = (
            f"a {ink} {bare} on {paper}",
            f"a {EFFECTS[scene.effect[i]]} picture of {what}",
            f"{what} at the {place}",
            f"a {size} {bare}",
            f"{what} on a {grounds[scene.ground[i]]} {paper} background",
            f"a photo of {what}",
        )
        said.append(tuple(what if short[i][k] else long[pick[i][k]] for k in range(CAPTIONS)))
    return said
