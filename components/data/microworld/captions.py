"""What is said of a drawing: three captions an image, 60 % of them short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.data.microworld.atlas import names

if TYPE_CHECKING:
    from numpy.random import Generator

    from components.data.microworld.renderer import Recipe, Scene

CAPTIONS = 3
COLOURS = {
    "red": (220, 40, 40), "orange": (240, 140, 30), "yellow": (240, 220, 50), "green": (40, 170, 60),
    "teal": (30, 170, 170), "blue": (50, 80, 220), "purple": (130, 50, 180), "pink": (245, 130, 190),
    "brown": (130, 80, 40), "white": (255, 255, 255), "grey": (128, 128, 128), "black": (0, 0, 0),
}  # fmt: skip
GROUNDS = ("plain", "shaded", "striped", "checked", "cloudy")
EFFECTS = ("clean", "noisy", "blurred", "coarse")
SIZES, PLACES = ("small", "large"), ("left", "right", "top", "bottom")
LONG = (
    "a {ink} {bare} on {paper}",
    "a {effect} picture of {thing}",
    "{thing} at the {place}",
    "a {size} {bare}",
    "{thing} on a {ground} {paper} background",
    "a photo of {thing}",
)


def words() -> str:
    """Every word of every caption, in alphabetical order."""
    said = {word for sentence in LONG for word in sentence.split() if "{" not in word} | {"the", "digit", "a", "an"}
    classes = {word for subject in ("digits", "garments", "shapes") for name in names(subject) for word in name.split()}
    return " ".join(sorted(said | classes | {*COLOURS, *GROUNDS, *EFFECTS, *SIZES, *PLACES}))


def thing(subject: str, name: str) -> str:
    """The noun phrase of a class: "the digit three", "an ankle boot", "a ring"."""
    if subject == "digits":
        return f"the digit {name}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def write(recipe: Recipe, scene: Scene, rng: Generator) -> list[tuple[str, ...]]:
    """[B] tuples of CAPTIONS sentences."""
    nouns, colours = [names(subject) for subject, _ in recipe.mix], list(COLOURS)
    pick = rng.integers(0, len(LONG), (len(scene.label), CAPTIONS)).tolist()
    short = (rng.random((len(scene.label), CAPTIONS)) < 0.6).tolist()
    said = []
    for i, (s, c) in enumerate(zip(scene.subject.tolist(), scene.label.tolist(), strict=True)):
        subject, name = recipe.mix[s][0], nouns[s][c]
        x, y = scene.shift[i].tolist()
        facts = {
            "thing": thing(subject, name),
            "bare": f"digit {name}" if subject == "digits" else name,
            "ink": colours[scene.ink[i]],
            "paper": colours[scene.paper[i]],
            "ground": GROUNDS[scene.ground[i]],
            "effect": EFFECTS[scene.effect[i]],
            "size": SIZES[int(scene.size[i] > 0.95)],
            "place": PLACES[int(x > 0) if abs(x) > abs(y) else 2 + int(y > 0)],
        }
        said.append(tuple(facts["thing"] if short[i][k] else LONG[pick[i][k]].format(**facts) for k in range(CAPTIONS)))
    return said
