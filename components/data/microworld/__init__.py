"""The microworld: a rendered corpus of captioned digits, garments and shapes."""

from components.data.microworld.captions import words
from components.data.microworld.letters import Letters
from components.data.microworld.rendered import Rendered

__all__ = ["Letters", "Rendered", "words"]
