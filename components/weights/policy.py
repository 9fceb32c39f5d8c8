"""What a combination may do where the ingredients do not simply agree, and what it never does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from components.types import DataError, revision


@revision(1)
@dataclass(frozen=True)
class Policy:
    """Every departure from "equal specification, one ancestor, one dtype" is named here.

    dtype: of the averaged values; "" keeps the ingredients' own, and float32 where they are mixed.
    bn: what becomes of BatchNorm statistics that differ: `average` them, or take those of the common ancestor (`from_base`, which must be
    among the ingredients, with coefficient 0 if need be); "" refuses.
    unlike_ancestry, unlike_preprocess: proceed where these differ.
    """

    dtype: Literal["", "float64", "float32", "float16", "bfloat16"] = ""
    bn: Literal["", "average", "from_base"] = ""
    unlike_ancestry: bool = False
    unlike_preprocess: bool = False


class NotFinite(DataError):
    """A stored weight is NaN or infinite. `name` is the ingredient's, `key` the tensor's."""

    def __init__(self, name: str, key: str, value: float) -> None:
        super().__init__(f"{name} has the value {value} in {key}: leave it out of the combination, or train it again")
        self.name, self.key, self.value = name, key, value

    def __reduce__(self) -> tuple[type[NotFinite], tuple[str, str, float]]:
        return NotFinite, (self.name, self.key, self.value)
