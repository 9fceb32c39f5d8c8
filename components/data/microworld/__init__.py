"""The microworld: a rendered corpus of captioned digits, garments and shapes."""

from components.data.microworld.captions import words
from components.data.microworld.rendered import Rendered

__all__ = ["Rendered", "words"]
