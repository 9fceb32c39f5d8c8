"""Images with a wrong word written over them: the typographic attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from components.types import Dataset, Examples, Run, revision


@revision(2)
@dataclass(frozen=True)
class Typographic(Dataset):
    """The same examples, each with the word of another class written over its image; ids and parts stay.

    words: one for each class, in label order; () takes the class names. Which word, where and in what colour is a function of the example's
    id and label, and the word is never that of its own class. labels: `own`, or `written`, with which the accuracy is the share of answers
    that follow the writing. The letters are DejaVu Sans Bold with a black rim, at most 0.6 of the image high, and fit its width.
    Data as in PAINT (Ilharco et al. 2022, arXiv:2208.05592); the drawing is ours.
    """

    data: Dataset
    words: tuple[str, ...] = ()
    labels: Literal["own", "written"] = "own"

    def open(self, run: Run) -> Examples:
        """ValueError where there is not one word for each of two or more classes."""
        from dataclasses import replace

        from components.data import examples
        from components.data.lettering import Written, wrong

        clean = examples.rows(self.data.open(run))
        words = self.words or clean.classes
        if len(words) < 2 or len(words) != len(clean.classes or words):
            raise ValueError(f"Typographic: {len(words)} words for {len(clean.classes)} classes; give one word for each of two or more classes")
        written = wrong(clean.ids, clean.labels, len(words))
        return replace(
            clean,
            labels=clean.labels if self.labels == "own" else written,
            pixels=Written(clean.pixels, clean.ids, tuple(words[index] for index in written)),
            digest=examples.combined(clean.digest, "typographic", type(self).__revision__, words, self.labels),  # type: ignore[attr-defined]
        )

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return self.data.parts()
